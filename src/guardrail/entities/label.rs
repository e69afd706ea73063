//! What the words before a number say it is.

use std::sync::OnceLock;

use super::kind::EntityKind;

/// Bytes before a value in which its label is looked for.
pub(super) const LABEL_BYTES_MAX: usize = 64;

/// A label, by the kind of value that it announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Of(EntityKind),
    /// Any payment card.
    Card,
    /// What one does with a telephone, and with much else.
    Reach,
    /// A number that is nobody's: of an order, a product, a moment.
    Harmless,
}

use EntityKind as K;
use Label::{Card, Harmless, Of, Reach};

/// Sorted by what they announce. Lower case; where two end at the same place the longer one counts.
/// A space stands for an underscore and a hyphen too.
const LABELS: &[(Label, &[&str])] = &[
    (
        Of(K::UsBankAccount),
        &[
            "account number",
            "account no",
            "account #",
            "acct",
            "bank account",
            "checking account",
            "savings account",
            "account ending",
            "a/c",
            "account",
            "savings",
            "checking",
            "accountnumber",
        ],
    ),
    (Of(K::UsBankRouting), &["routing", "aba", "rtn", "transit number", "routingnumber"]),
    (Of(K::UsSocialSecurity), &["ssn", "social security", "social sec", "ss#", "social"]),
    (Of(K::UsTaxpayerId), &["itin", "taxpayer identification", "tax id", "taxpayer id", "itins"]),
    (Of(K::UsPassport), &["passport"]),
    (
        Of(K::CnPassport),
        &["护照", "護照", "chinese passport", "passport (china)", "passport (prc)", "prc passport"],
    ),
    (
        Of(K::DriverId),
        &[
            "driver's license",
            "drivers license",
            "driver license",
            "driver's licence",
            "driving licence",
            "drivers licence",
            "driver licence",
            "driving license",
            "driver's lic",
            "driver id",
            "dl",
            "dl number",
            "license number",
            "licence number",
            "license no",
            "licence no",
            "dln",
            "驾驶证",
            "驾照",
            "駕照",
            "駕駛證",
            "驾驶证号",
            "driver's permit",
            "license id",
            "driving permit",
            "driver permit",
            "driverlicense",
            "driverslicense",
            "driverslicence",
            "driver lic",
            "drivers lic",
            "license #",
            "licence #",
            "licensenumber",
            "permis de conduire",
            "fahrerlaubnis",
            "licencia de conducir",
            "档案编号",
        ],
    ),
    (
        Of(K::LicensePlate),
        &[
            "license plate",
            "licence plate",
            "number plate",
            "plate number",
            "plate",
            "plates",
            "registration",
            "reg",
            "tag number",
            "车牌",
            "車牌",
            "license tag",
            "vehicle registration",
            "licenseplate",
            "licenceplate",
            "platenumber",
            "car's tag",
            "car tag",
            "tag is",
            "tag #",
            "rego",
            "vrm",
            "kennzeichen",
            "immatriculation",
            "号牌",
        ],
    ),
    (
        Of(K::VehicleId),
        &[
            "vin",
            "vehicle identification",
            "chassis",
            "车架号",
            "车架",
            "车辆识别",
            "车辆识别代号",
            "车辆识别代码",
            "识别代号",
            "识别代码",
            "大架号",
        ],
    ),
    (
        Of(K::CardCvv),
        &[
            "cvv",
            "cvv2",
            "cvc",
            "cvc2",
            "cid",
            "security code",
            "card verification",
            "安全码",
            "cvn",
            "verification code on the back",
            "three digits on the back",
            "on the back",
            "csc",
            "card code",
            "digit code",
            "三位数",
            "后三位",
            "末三位",
            "验证值",
        ],
    ),
    (
        Of(K::CardExpiry),
        &[
            "exp",
            "expiry",
            "expires",
            "expiration",
            "valid thru",
            "valid until",
            "valid through",
            "good thru",
            "expire",
            "expiring",
            "有效期",
            "到期",
            "exp date",
            "exp.",
            "expirydate",
            "expirationdate",
            "good through",
            "good until",
            "valid to",
            "valid till",
            "截止",
        ],
    ),
    (
        Of(K::Pin),
        &[
            "pin",
            "pin code",
            "pin number",
            "pincode",
            "pins",
            "取款密码",
            "支付密码",
            "交易密码",
            "个人识别码",
            "passcode",
            "pin for my card",
            "pin for the card",
            "pin for my debit card",
            "pin for my bank card",
            "pin of my card",
            "pin on my card",
        ],
    ),
    (Of(K::UkHealthNumber), &["nhs", "national health service"]),
    (Of(K::UkInsuranceNumber), &["national insurance", "nino", "ni number"]),
    (
        Of(K::UkTaxpayerReference),
        &["utr", "taxpayer reference", "self assessment", "tax reference", "taxpayerreference"],
    ),
    (Of(K::CaSocialInsuranceNumber), &["sin", "social insurance", "s.i.n."]),
    (
        Of(K::CaHealthNumber),
        &[
            "health card",
            "health number",
            "ohip",
            "health insurance",
            "phn",
            "personal health",
            "care card",
            "healthcare",
            "health care",
            "medicare",
            "carte soleil",
            "assurance maladie",
            "healthcard",
            "healthnumber",
            "hcn",
            "ahcip",
            "msp",
            "ramq",
        ],
    ),
    (Of(K::SwiftCode), &["swift", "bic", "swift/bic", "swift code", "bic code"]),
    (Of(K::Iban), &["iban"]),
    (
        Of(K::Phone),
        &[
            "phone",
            "tel",
            "telephone",
            "mobile",
            "cell",
            "fax",
            "whatsapp",
            "sms",
            "text me",
            "dial",
            "contact number",
            "messages to",
            "message on",
            "my number",
            "number's",
            "cellphone",
            "phones",
            "mob",
            "landline",
            "office number",
            "home number",
            "work number",
            "day number",
            "contact no",
            "toll free",
            "phonenumber",
            "mobilenumber",
            "telefon",
            "teléfono",
            "téléphone",
            "handy",
            "手机",
            "手機",
            "电话",
            "電話",
            "联系方式",
            "聯繫方式",
            "致电",
            "拨打",
            "打给",
            "打",
            "座机",
            "传真",
            "热线",
            "来电",
            "联系",
            "call me on",
            "call me at",
            "extension",
            "callback",
            "hotline",
            "helpline",
            "voicemail",
        ],
    ),
    (Reach, &["call", "text", "ring", "reach", "numbers", "contact", "registered", "calling"]),
    (
        Of(K::MacAddress),
        &["mac", "mac address", "hardware address", "ethernet address", "mac地址", "物理地址"],
    ),
    (Of(K::Landline), &["座机", "固话", "固定电话", "宅电"]),
    (Of(K::Age), &["aged", "age", "年龄", "年齡", "年纪", "age of"]),
    (Of(K::Qq), &["qq", "扣扣", "企鹅号", "q号", "球球", "腾讯号", "企鹅"]),
    (Of(K::WeChat), &["微信", "wechat", "weixin", "微信号"]),
    (
        Of(K::CnIdCard),
        &[
            "身份证",
            "身份證",
            "身分证",
            "公民身份",
            "证件号",
            "社保号",
            "居民证",
            "id card",
            "id number",
            "identity card",
            "身份号",
            "身份号码",
            "社会保障号",
            "resident id",
        ],
    ),
    (
        Of(K::CnBankCard),
        &[
            "银行卡",
            "储蓄卡",
            "借记卡",
            "銀行卡",
            "银联",
            "工资卡",
            "卡号",
            "卡號",
            "账户",
            "帐户",
            "账号",
            "打到",
            "汇到",
            "转到",
        ],
    ),
    (
        Card,
        &[
            "card",
            "credit card",
            "debit card",
            "visa",
            "mastercard",
            "amex",
            "信用卡",
            "cc",
            "cards",
        ],
    ),
    (Of(K::CnCreditCode), &["信用代码", "税号", "納稅人", "纳税人识别号", "统一社会", "机构代码"]),
    (
        Of(K::CnTravelPermit),
        &["通行证", "通行證", "回乡证", "回鄉證", "台胞证", "港澳证", "permit"],
    ),
    (
        Of(K::AwsSecretKey),
        &[
            "secret",
            "secret key",
            "secret access key",
            "aws_secret",
            "secret_access_key",
            "secretkey",
            "aws secret",
            "secretaccesskey",
            "aws_secret_access_key",
            "密钥",
            "私钥",
            "secret_key",
        ],
    ),
    (Of(K::AwsAccessKey), &["access key", "access_key", "accesskey", "aws_access_key_id"]),
    (Of(K::IpAddress), &["ip", "ip address", "host", "server"]),
    (
        Harmless,
        &[
            "order",
            "order number",
            "order no",
            "order id",
            "invoice",
            "invoice number",
            "tracking",
            "tracking number",
            "reference",
            "reference number",
            "ref",
            "request id",
            "ticket",
            "ticket number",
            "isbn",
            "issn",
            "population",
            "serial",
            "serial number",
            "sku",
            "model",
            "part number",
            "product",
            "version",
            "timestamp",
            "transaction id",
            "case number",
            "multiply",
            "divided by",
            "times",
            "plus",
            "minus",
            "page",
            "pi",
            "hash",
            "commit",
            "port",
            "zip",
            "zip code",
            "postcode",
            "postal code",
            "batch",
            "lot",
            "flight",
            "room",
            "item",
            "sum of",
            "calculate",
            "compute",
            "factor",
            "barcode",
            "doi",
            "patent",
            "build",
            "number of",
            "订单",
            "訂單",
            "流水",
            "合同",
            "编号",
            "單號",
            "单号",
            "时间戳",
            "型号",
            "批次",
            "序列号",
            "货号",
            "运单",
            "快递",
            "发票",
            "交易号",
            "邮编",
            "邮政编码",
            "圆周率",
            "页码",
            "条码",
            "条形码",
            "计算",
            "人口",
            "编码",
            "代号",
            "学号",
            "工号",
            "案号",
            "文号",
            "版本",
            "product id",
            "user id",
            "受理号",
            "取件码",
            "验证码",
            "校验码",
            "年份",
            "金额",
            "价格",
            "共计",
            "总数",
            "数量",
            "流水号",
            "订单号",
            "合同编号",
            "物流",
            "凭证号",
            "批号",
            "test card",
            "card type",
            "代码",
            "iccid",
            "imei",
            "asin",
            "ean",
            "gtin",
            "upc",
            "报告编号",
            "工单",
        ],
    ),
];

/// What comes right before an age that nothing else marks.
const TURNED: &[&str] = &[
    "turned ",
    "turn ",
    "turning ",
    "turns ",
    "when he was ",
    "when she was ",
    "when i was ",
    "i am ",
    "i'm ",
    "he is ",
    "she is ",
    "he's ",
    "she's ",
    "they are ",
    "芳龄",
    "今年",
];

/// Whether the words right before `at` speak of somebody's age.
pub(super) fn is_turned(text: &str, at: usize) -> bool {
    let bytes = text.as_bytes();
    TURNED.iter().any(|words| {
        let start = at.checked_sub(words.len());
        start.is_some_and(|start| {
            bytes[start..at].eq_ignore_ascii_case(words.as_bytes())
                && !start.checked_sub(1).is_some_and(|before| bytes[before].is_ascii_alphabetic())
        })
    })
}

/// The labels by their ends.
struct Labels {
    /// Whether a label ends in these two bytes, in lower case: a bit for each pair.
    endings: Box<[u64; (1 << 16) / 64]>,
    /// By their last two bytes, the longest first.
    by_pair: Vec<(usize, &'static str, Label)>,
}

fn labels() -> &'static Labels {
    static LABELS_OF_ALL: OnceLock<Labels> = OnceLock::new();
    LABELS_OF_ALL.get_or_init(|| {
        let mut endings = Box::new([0; (1 << 16) / 64]);
        let mut by_pair = Vec::new();
        for (label, texts) in LABELS {
            for text in *texts {
                let [.., before, last] = text.as_bytes() else { unreachable!("of two bytes") };
                let pair = pair(*before, *last);
                endings[pair / 64] |= 1 << (pair % 64);
                by_pair.push((pair, *text, *label));
            }
        }
        by_pair.sort_by_key(|(pair, text, _)| (*pair, usize::MAX - text.len()));
        Labels { endings, by_pair }
    })
}

fn pair(before: u8, last: u8) -> usize {
    usize::from(before) << 8 | usize::from(last)
}

impl Labels {
    #[inline]
    fn may_end(&self, pair: usize) -> bool {
        self.endings[pair / 64] >> (pair % 64) & 1 != 0
    }

    /// The longest label that ends at `end` of the text in these bytes and does not begin before
    /// `start`.
    fn ending_at(&self, text: &str, start: usize, end: usize, pair: usize) -> Option<Label> {
        let window = &text.as_bytes()[start..end];
        let first = self.by_pair.partition_point(|(known, ..)| *known < pair);
        let known = self.by_pair[first..].iter().take_while(|(known, ..)| *known == pair);
        let mut known = known.filter(|(_, label, _)| {
            window.len().checked_sub(label.len()).is_some_and(|at| {
                is_label(&window[at..], label.as_bytes()) && has_borders(text, start + at, end)
            })
        });
        known.next().map(|(_, _, label)| *label)
    }
}

/// The labels before a value, and where the closest begins and ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labelled {
    pub(super) label: Label,
    /// Bytes between the label and the value.
    pub(super) distance: usize,
}

/// The closest label before `at`, unless another number or the end of a sentence lies between.
pub(super) fn before(text: &str, at: usize) -> Option<Labelled> {
    let mut start = at.saturating_sub(LABEL_BYTES_MAX);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let known = labels();
    let bytes = text.as_bytes();
    let mut last = bytes.get(start..at)?.last()?.to_ascii_lowercase();
    for end in (start + 2..=at).rev() {
        let before = bytes[end - 2].to_ascii_lowercase();
        let pair = pair(before, last);
        if known.may_end(pair)
            && let Some(label) = known.ending_at(text, start, end, pair)
        {
            return Some(Labelled { label, distance: at - end });
        }
        // What ends a sentence, or another number, comes between.
        let is_cut = match last {
            b'0'..=b'9' | b'!' | b';' => true,
            b'.' => end < at && bytes[end] == b' ' && !is_abbreviation(&bytes[..end - 1]),
            // The last bytes of 。！？；.
            0x82 | 0x81 | 0x9F | 0x9B => {
                let is_end = |it: &&str| bytes[..end].ends_with(it.as_bytes());
                ["。", "！", "？", "；"].iter().any(is_end)
            }
            _ => false,
        };
        if is_cut {
            return None;
        }
        last = before;
    }
    None
}

/// Whether these bytes spell a label: in any case, and as names in programs are written.
fn is_label(bytes: &[u8], label: &[u8]) -> bool {
    bytes.iter().zip(label).all(|(byte, known)| {
        byte.eq_ignore_ascii_case(known) || *known == b' ' && matches!(byte, b'_' | b'-')
    })
}

/// Words before a full stop that a number follows.
fn is_abbreviation(before: &[u8]) -> bool {
    const KNOWN: [&[u8]; 11] = [
        b"no", b"nr", b"num", b"acct", b"lic", b"tel", b"ph", b"mob", b"exp", b"ext", b"reg",
    ];
    let len = before.iter().rev().take(5).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let word = &before[before.len() - len..];
    KNOWN.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// A label of Latin letters is a word of its own, which an underscore does not change; in names of
/// programs a capital begins one.
fn has_borders(text: &str, start: usize, end: usize) -> bool {
    let bytes = text.as_bytes();
    let is_inside = |at: usize| {
        let (Some(before), Some(after)) = (bytes.get(at.wrapping_sub(1)), bytes.get(at)) else {
            return false;
        };
        let begins_part = before.is_ascii_lowercase() && after.is_ascii_uppercase();
        before.is_ascii_alphabetic() && after.is_ascii_alphabetic() && !begins_part
    };
    !is_inside(start) && !is_inside(end)
}
