//! What is found as sensitive information, and what is not.

use std::collections::BTreeMap;

use super::{EntityKind, EntitySet, live_from, scan};
use crate::guardrail::fold::Folded;

fn all() -> EntitySet {
    EntityKind::ALL.iter().copied().collect()
}

fn found(text: &str) -> BTreeMap<&'static str, String> {
    let plain = Folded::plain(text);
    let hits = scan(plain.text(), 0, all());
    hits.into_iter()
        .map(|hit| (hit.kind.name(), text[plain.original_range(hit.range)].to_owned()))
        .collect()
}

/// A sentence for every kind that has a form, with what is to be found in it.
const SENTENCES: &[(&str, &[(&str, &str)])] = &[
    ("The patient, 69 years of age, was admitted.", &[("AGE", "69")]),
    ("今年58岁，想咨询一下贷款", &[("AGE", "58")]),
    ("AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", &[("AWS_ACCESS_KEY", "AKIAIOSFODNN7EXAMPLE")]),
    (
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        &[("AWS_SECRET_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")],
    ),
    ("Ontario health card number 1894 471 268", &[("CA_HEALTH_NUMBER", "1894 471 268")]),
    ("My SIN is 046 454 286, I live in Canada.", &[("CA_SOCIAL_INSURANCE_NUMBER", "046 454 286")]),
    (
        "Card 4111-1111-1111-1111, exp 05/27, cvv 071",
        &[
            ("CREDIT_DEBIT_CARD_NUMBER", "4111-1111-1111-1111"),
            ("CREDIT_DEBIT_CARD_EXPIRY", "05/27"),
            ("CREDIT_DEBIT_CARD_CVV", "071"),
        ],
    ),
    ("My driver's license number is D6297901, from Ohio.", &[("DRIVER_ID", "D6297901")]),
    ("mail j.doe+x@mail.example.com, please", &[("EMAIL", "j.doe+x@mail.example.com")]),
    (
        "to IBAN GB82 WEST 1234 5698 7654 32 today",
        &[("INTERNATIONAL_BANK_ACCOUNT_NUMBER", "GB82 WEST 1234 5698 7654 32")],
    ),
    ("ssh root@10.1.2.3 -p 22", &[("IP_ADDRESS", "10.1.2.3")]),
    ("from 2001:db8::8a2e:370:7334 and", &[("IP_ADDRESS", "2001:db8::8a2e:370:7334")]),
    ("The car with license plate 2ZNM979 was parked.", &[("LICENSE_PLATE", "2ZNM979")]),
    ("我的车是蒙F·4XSFY，停在楼下", &[("LICENSE_PLATE", "蒙F·4XSFY")]),
    ("MAC 50-36-BE-ED-29-4F was refused", &[("MAC_ADDRESS", "50-36-BE-ED-29-4F")]),
    ("DB_USER=joe_x DB_PASSWORD=23kcH1ya^", &[("USERNAME", "joe_x"), ("PASSWORD", "23kcH1ya^")]),
    ("My ATM PIN is 5864, is that safe?", &[("PIN", "5864")]),
    ("call me at +1 357-318-2310 ext 12", &[("PHONE", "+1 357-318-2310 ext 12")]),
    ("BIC BOFAUS3N, thanks", &[("SWIFT_CODE", "BOFAUS3N")]),
    (
        "NHS number 943 476 5919, GP in Leeds",
        &[("UK_NATIONAL_HEALTH_SERVICE_NUMBER", "943 476 5919")],
    ),
    (
        "National Insurance number AB 12 34 56 C",
        &[("UK_NATIONAL_INSURANCE_NUMBER", "AB 12 34 56 C")],
    ),
    ("UTR 7473547656 for it", &[("UK_UNIQUE_TAXPAYER_REFERENCE_NUMBER", "7473547656")]),
    ("See (https://example.com/a_(b)).", &[("URL", "https://example.com/a_(b)")]),
    (
        "Bank account number 511042534, routing number 021000021.",
        &[("US_BANK_ACCOUNT_NUMBER", "511042534"), ("US_BANK_ROUTING_NUMBER", "021000021")],
    ),
    (
        "ITIN 978-86-8982 was rejected",
        &[("US_INDIVIDUAL_TAX_IDENTIFICATION_NUMBER", "978-86-8982")],
    ),
    ("US passport number 312802653 expires", &[("US_PASSPORT_NUMBER", "312802653")]),
    ("My SSN is 380-30-4942.", &[("US_SOCIAL_SECURITY_NUMBER", "380-30-4942")]),
    ("Decode 1M8GDM9AXKP042788 please", &[("VEHICLE_IDENTIFICATION_NUMBER", "1M8GDM9AXKP042788")]),
    ("身份证号码：11010519491231002X", &[("CN_ID_CARD", "11010519491231002X")]),
    ("银行卡6217005466729319832被冻结", &[("CN_BANK_CARD", "6217005466729319832")]),
    ("信用代码91350100M000100Y43查询", &[("CN_USCC", "91350100M000100Y43")]),
    ("我的护照号码是G23615371，想去", &[("CN_PASSPORT", "G23615371")]),
    ("来往港澳通行证M01221461能续签吗", &[("CN_HKM_PERMIT", "M01221461")]),
    ("公司电话：0755-70282995", &[("LANDLINE", "0755-70282995")]),
    (
        "加我微信：hdkok36w5kew，或者打15143010689",
        &[("WECHAT", "hdkok36w5kew"), ("PHONE", "15143010689")],
    ),
    ("我的QQ号是263992968，密码是0Qefd7KxLE", &[("QQ", "263992968"), ("PASSWORD", "0Qefd7KxLE")]),
];

#[test]
fn every_kind_with_a_form_is_found_and_nothing_beside_it() {
    let mut kinds: Vec<&str> = Vec::new();
    for (text, expected) in SENTENCES {
        let expected: BTreeMap<&str, String> =
            expected.iter().map(|(kind, value)| (*kind, (*value).to_owned())).collect();
        assert_eq!(found(text), expected, "{text}");
        kinds.extend(expected.into_keys());
    }
    for kind in EntityKind::ALL {
        let is_learnt = matches!(kind, EntityKind::Name | EntityKind::Address);
        assert!(is_learnt || kinds.contains(&kind.name()), "{}", kind.name());
    }
}

/// The same kinds as other people write them: in programs, forms, notes and advertisements.
const OTHER_FORMS: &[(&str, &str, &str)] = &[
    ("A 67-year-old man presented with pain.", "AGE", "67"),
    ("67 y.o. male", "AGE", "67"),
    ("pt is a 45yo F", "AGE", "45"),
    ("just had my 38th birthday", "AGE", "38"),
    ("I'm 19 and I live alone", "AGE", "19"),
    ("他三十五岁了", "AGE", "三十五"),
    ("RAMQ: BOUF 9410 1514", "CA_HEALTH_NUMBER", "BOUF 9410 1514"),
    ("S.I.N. 130 692 544", "CA_SOCIAL_INSURANCE_NUMBER", "130 692 544"),
    ("the 3-digit code on the back is 771", "CREDIT_DEBIT_CARD_CVV", "771"),
    ("card expires March 2027", "CREDIT_DEBIT_CARD_EXPIRY", "March 2027"),
    ("exp 1127", "CREDIT_DEBIT_CARD_EXPIRY", "1127"),
    ("卡有效期至2026年9月", "CREDIT_DEBIT_CARD_EXPIRY", "2026年9月"),
    ("license no. D1234567 issued", "DRIVER_ID", "D1234567"),
    ("{\"driver_license\": \"D1234567\"}", "DRIVER_ID", "D1234567"),
    ("jane[at]example[dot]com", "EMAIL", "jane[at]example[dot]com"),
    ("plate no. 7ABC123, fled", "LICENSE_PLATE", "7ABC123"),
    ("一辆粤Z1234港", "LICENSE_PLATE", "粤Z1234港"),
    ("Cisco 001A.2B3C.4D5E dynamic", "MAC_ADDRESS", "001A.2B3C.4D5E"),
    ("mac address 001a2b3c4d5e", "MAC_ADDRESS", "001a2b3c4d5e"),
    ("my pw is S3cr3t!pass", "PASSWORD", "S3cr3t!pass"),
    ("Wi-Fi password -> letmein99", "PASSWORD", "letmein99"),
    ("PGPASSWORD=letmein99 psql", "PASSWORD", "letmein99"),
    ("取款密码是123456", "PIN", "123456"),
    ("the pin for my card: 7734", "PIN", "7734"),
    ("London: 020 7946 0958", "PHONE", "020 7946 0958"),
    ("Sydney (02) 9876 5432", "PHONE", "(02) 9876 5432"),
    ("加我vx13912345678", "PHONE", "13912345678"),
    ("patient NHS no. 943 476 5919", "UK_NATIONAL_HEALTH_SERVICE_NUMBER", "943 476 5919"),
    ("NI number: QQ123456C", "UK_NATIONAL_INSURANCE_NUMBER", "QQ123456C"),
    ("go to example.com/login now", "URL", "example.com/login"),
    ("Her username is maria.lopez.", "USERNAME", "maria.lopez"),
    ("user_name=jdoe42", "USERNAME", "jdoe42"),
    ("twitter handle @jdoe42", "USERNAME", "jdoe42"),
    ("\"accountNumber\":\"9876543210\"", "US_BANK_ACCOUNT_NUMBER", "9876543210"),
    ("\"routingNumber\": \"026009593\"", "US_BANK_ROUTING_NUMBER", "026009593"),
    ("SSN: 219.09.9999", "US_SOCIAL_SECURITY_NUMBER", "219.09.9999"),
    ("身份证号：11010119900307123X", "CN_ID_CARD", "11010119900307123X"),
    ("台胞证12345678", "CN_HKM_PERMIT", "12345678"),
    ("加V：zhangsan88", "WECHAT", "zhangsan88"),
    ("加wxid_a1b2c3d4e5f6g7", "WECHAT", "wxid_a1b2c3d4e5f6g7"),
    ("加qq123456789", "QQ", "123456789"),
    ("车辆识别代号：LSVAA4182E2123456", "VEHICLE_IDENTIFICATION_NUMBER", "LSVAA4182E2123456"),
    ("银行国际代码：ICBKCNBJSHI", "SWIFT_CODE", "ICBKCNBJSHI"),
];

#[test]
fn a_value_is_found_in_its_other_forms_too() {
    for (text, kind, value) in OTHER_FORMS {
        assert_eq!(found(text), BTreeMap::from([(*kind, (*value).to_owned())]), "{text}");
    }
}

#[test]
fn a_server_address_gives_its_password_away() {
    let text = "postgres://admin:s3cr3t@db.example.com:5432/x";
    let hits = scan(text, 0, [EntityKind::Password].into_iter().collect());
    assert_eq!(hits.iter().map(|hit| &text[hit.range.clone()]).collect::<Vec<_>>(), ["s3cr3t"]);
}

#[test]
fn numbers_that_are_nobodys_are_left_alone() {
    for text in [
        "registration opens 2024; register by 15 May 2024",
        "reach 1000000 users and call 3 of 5",
        "numbers 1 2 3 4 5 6 7 8 9 10 11",
        "5岁以下儿童和六十岁以上老人",
        "the username is case sensitive, user=admin",
        "QQ在2000年有100000用户，今年是2024年",
        "turn 90 degrees, a 50 year old building",
        "use asp.net and socket.io with std.net.URL",
        "bot: who? user: heather",
        "Order number 4111111111111111 has shipped.",
        "The invoice 386408248 is overdue.",
        "Multiply 2139004423 by 1508.",
        "The ISBN is 978-3-16-148410-0 and page count 1506.",
        "Explain what a CVV is and why a PIN has four digits.",
        "The year 1949 saw 4080 launches; the 6864th was the last.",
        "pi is 3.14159265358979323846 and e is 2.71828182845904523536",
        "The request id is c3f08422-9ccd-451c-ac87-d3be3927d2ce.",
        "commit da39a3ee5e6b4b0d3255bfef95601890afd80709 and version 1.2.3.4",
        "your password is required, the username is optional",
        "流水号718525131402419692查询失败",
        "时间戳1797377971040对应哪一天？",
        "请用Python写一个校验身份证号的函数，手机号为什么是11位？",
        "本产品型号为GB1988-2014，圆周率是3.14159265358979323846",
        "一二三四五，上山打老虎",
    ] {
        assert_eq!(found(text), BTreeMap::new(), "{text}");
    }
}

#[test]
fn a_value_is_found_in_its_disguises() {
    for (kind, text, value) in [
        ("CN_ID_CARD", "我的身份证是①①⓪①⓪⑤①⑨④⑨①②③①⓪⓪②X，", "①①⓪①⓪⑤①⑨④⑨①②③①⓪⓪②X"),
        ("PHONE", "手机壹叁柒叁捌肆叁贰陆肆壹找", "壹叁柒叁捌肆叁贰陆肆壹"),
        ("PHONE", "打1 6 6 1 6 7 0 6 6 5 9找我", "1 6 6 1 6 7 0 6 6 5 9"),
        (
            "CN_BANK_CARD",
            "卡号６２１７００５４６６７２９３１９８３２",
            "６２１７００５４６６７２９３１９８３２",
        ),
        ("US_SOCIAL_SECURITY_NUMBER", "SSN is 4 4 4 - 1 3 - 5 4 7 0", "4 4 4 - 1 3 - 5 4 7 0"),
        ("EMAIL", "mail t b 1 @ e x a m p l e . c o m please", "t b 1 @ e x a m p l e . c o m"),
        ("EMAIL", "mail ａｂ＠ｅｘａｍｐｌｅ．ｏｒｇ now", "ａｂ＠ｅｘａｍｐｌｅ．ｏｒｇ"),
        (
            "CREDIT_DEBIT_CARD_NUMBER",
            "card 4\u{2060}111\u{202d}111111111111",
            "4\u{2060}111\u{202d}111111111111",
        ),
    ] {
        assert_eq!(found(text).get(kind).map(String::as_str), Some(value), "{text}");
    }
}

#[test]
fn only_what_could_become_a_value_is_live() {
    for (text, expected) in [
        ("the river rises", 10),
        ("the river rises ", 16),
        ("call 133 ", 5),
        ("这条河", 9),
        ("手机号1", 9),
        ("aged 69 yea", 5),
        ("it cost 69 dollars a", 19),
    ] {
        assert_eq!(live_from(text, 0), expected, "{text}");
    }
}
