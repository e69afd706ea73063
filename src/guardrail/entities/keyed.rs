//! Values without a form of their own, which the word before them gives away: passwords, names of
//! users, WeChat ids, bank identifiers in letters.

use std::ops::Range;

use super::Candidate;
use super::kind::EntityKind as K;

/// Bytes of a value.
const VALUE_BYTES_MAX: usize = 64;
/// Bytes between the word and the value.
const GAP_BYTES_MAX: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    Password,
    Username,
    WeChat,
    /// The value begins with the word itself.
    WeChatId,
    Qq,
    Swift,
    /// A mobile number of the mainland right behind the word, as advertisements hide it.
    Mobile,
}

use Keyword::{Mobile, Password, Qq, Swift, Username, WeChat, WeChatId};

/// In the spellings that occur; searched with their case.
pub(super) const KEYWORDS: &[(&str, Keyword)] = &[
    ("password", Password),
    ("Password", Password),
    ("PASSWORD", Password),
    ("passwd", Password),
    ("PASSWD", Password),
    ("passcode", Password),
    ("Passcode", Password),
    ("passphrase", Password),
    ("Passphrase", Password),
    ("pwd", Password),
    ("PWD", Password),
    ("Pwd", Password),
    ("pw is", Password),
    ("pw:", Password),
    ("PW:", Password),
    ("pw=", Password),
    ("passwort", Password),
    ("Passwort", Password),
    ("contraseña", Password),
    ("mot de passe", Password),
    ("pass:", Password),
    ("Pass:", Password),
    ("PASS=", Password),
    ("pass=", Password),
    ("密码", Password),
    ("密碼", Password),
    ("口令", Password),
    ("username", Username),
    ("Username", Username),
    ("USERNAME", Username),
    ("userName", Username),
    ("UserName", Username),
    ("user name", Username),
    ("User name", Username),
    ("User Name", Username),
    ("user id", Username),
    ("User ID", Username),
    ("userid", Username),
    ("login", Username),
    ("Login", Username),
    ("LOGIN", Username),
    ("log in as", Username),
    ("logged in as", Username),
    ("sign in as", Username),
    ("handle is", Username),
    ("account name", Username),
    ("USER=", Username),
    ("user=", Username),
    ("user:", Username),
    ("User:", Username),
    ("user_name", Username),
    ("USER_NAME", Username),
    ("user_id", Username),
    ("user-name", Username),
    ("gamertag", Username),
    ("Gamertag", Username),
    ("screen name", Username),
    ("screenname", Username),
    ("github user", Username),
    ("GitHub user", Username),
    ("handle:", Username),
    ("handle @", Username),
    ("handle ", Username),
    ("nickname", Username),
    ("昵称", Username),
    ("uname", Username),
    ("用户名", Username),
    ("用戶名", Username),
    ("登录名", Username),
    ("账号", Username),
    ("帐号", Username),
    ("微信", WeChat),
    ("WeChat", WeChat),
    ("wechat", WeChat),
    ("Wechat", WeChat),
    ("weixin", WeChat),
    ("威信", WeChat),
    ("薇信", WeChat),
    ("wx", WeChat),
    ("WX", WeChat),
    ("vx", WeChat),
    ("VX", WeChat),
    ("V信", WeChat),
    ("v信", WeChat),
    ("Vx", WeChat),
    ("加V", WeChat),
    ("加v", WeChat),
    ("加微", WeChat),
    ("加薇", WeChat),
    ("薇", WeChat),
    ("wxid_", WeChatId),
    ("QQ", Qq),
    ("qq", Qq),
    ("Qq", Qq),
    ("扣扣", Qq),
    ("加Q", Qq),
    ("加q", Qq),
    ("加QQ", Qq),
    ("加qq", Qq),
    ("vx1", Mobile),
    ("VX1", Mobile),
    ("wx1", Mobile),
    ("WX1", Mobile),
    ("V1", Mobile),
    ("v1", Mobile),
    ("tel1", Mobile),
    ("Tel1", Mobile),
    ("TEL1", Mobile),
    ("dh1", Mobile),
    ("sj1", Mobile),
    ("swift", Swift),
    ("Swift", Swift),
    ("SWIFT", Swift),
    ("bic", Swift),
    ("BIC", Swift),
    ("国际代码", Swift),
    ("国际代号", Swift),
];

/// Words that may stand between a keyword and its value.
const CONNECTORS: &[&str] = &[
    "is",
    "are",
    "was",
    "to",
    "as",
    "for",
    "id",
    "code",
    "number",
    "the",
    "my",
    "her",
    "his",
    "our",
    "your",
    "no",
    "account",
    "this",
    "of",
    "new",
    "current",
    "old",
    "set",
    "changed",
    "reset",
    "be",
    "it",
    "s",
    "and",
    "hint",
    "name",
    "login",
    "address",
    "bic",
    "admin",
    "root",
    "database",
    "wifi",
    "user",
    "i",
    "you",
    "we",
    "asked",
    "use",
    "used",
    "now",
    "registered",
    "still",
    "currently",
    "below",
    "default",
    "temporary",
    "temp",
];
const HAN_CONNECTORS: &str =
    "号號是为為叫就码碼加我的成了改设設置位：和他她您你请請用及或名搜索现在現新代同❤♥\u{FE0F}";
/// What stands where a value would, in sentences about passwords and users.
const NO_VALUES: &[&str] = &[
    "required",
    "optional",
    "string",
    "incorrect",
    "invalid",
    "wrong",
    "none",
    "null",
    "true",
    "false",
    "reset",
    "expired",
    "field",
    "here",
    "must",
    "should",
    "enter",
    "change",
    "changed",
    "protected",
    "manager",
    "policy",
    "page",
    "form",
    "forgotten",
    "forgot",
    "security",
    "case",
    "taken",
    "available",
    "unavailable",
    "unique",
    "missing",
    "blank",
    "empty",
    "unknown",
    "correct",
    "visible",
    "hidden",
    "displayed",
    "stored",
    "mandatory",
    "valid",
    "different",
    "same",
    "unchanged",
    "public",
    "private",
    "shown",
    "known",
    "safe",
    "secure",
    "not",
    "also",
    "already",
    "always",
    "too",
    "longer",
    "authentication",
    "configuration",
    "default",
    "anonymous",
    "input",
    "text",
    "value",
    "username",
    "password",
    "user",
    "login",
    "email",
    "with",
    "that",
    "this",
    "what",
    "which",
    "strong",
    "weak",
    "hash",
    "hashing",
    "hashed",
    "generator",
    "cracking",
    "process",
    "screen",
    "button",
    "function",
    "endpoint",
    "credentials",
    "details",
    "attempt",
    "attempts",
    "system",
    "name",
    "names",
    "wechat",
    "weixin",
    "android",
    "iphone",
    "app",
    "pay",
    "example",
    "your_password",
    "yourpassword",
    "request",
    "session",
    "token",
    "please",
    "hello",
    "there",
    "will",
    "cannot",
    "could",
    "would",
];

/// The value that belongs to the keyword at `keyword`.
pub(super) fn value(text: &str, keyword: Range<usize>, kind: Keyword) -> Option<Candidate> {
    let bytes = text.as_bytes();
    let is_letter = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphabetic);
    let starts_inside =
        keyword.start > 0 && is_letter(keyword.start) && is_letter(keyword.start - 1);
    // `dbPassword` and `PGPASSWORD=`.
    let begins_part = starts_inside
        && (bytes[keyword.start].is_ascii_uppercase()
            && bytes[keyword.start - 1].is_ascii_lowercase()
            || text[keyword.clone()].starts_with("PASSW") && bytes.get(keyword.end) == Some(&b'='));
    match kind {
        _ if starts_inside && !begins_part => return None,
        Qq => return qq(text, keyword),
        Mobile => return mobile(text, keyword.end - 1),
        WeChatId => return wechat_id(text, keyword.start),
        _ if is_letter(keyword.end) && is_letter(keyword.end - 1) => return None,
        Password | Username | WeChat | Swift => {}
    }
    let (start, is_assigned) = skip_gap(text, keyword.clone());
    let mut range = start..start + value_len(&text[start..]);
    // A password may end in such a sign, a sentence does end in one.
    let trailing: &[u8] = if kind == Password { b".,;:)]}'\"`>" } else { b".,;:!?)]}'\"`>" };
    while range.end > range.start && trailing.contains(&bytes[range.end - 1]) {
        let is_sentence = bytes.get(range.end).is_none_or(u8::is_ascii_whitespace)
            || b"'\"`)]}>,;".contains(&bytes[range.end - 1])
            || !bytes[range.end].is_ascii();
        if !is_sentence {
            break;
        }
        range.end -= 1;
    }
    let value = &text[range.clone()];
    let is_known_word = NO_VALUES.iter().any(|word| value.eq_ignore_ascii_case(word));
    if value.is_empty() || is_known_word {
        return None;
    }
    let (is_value, kind, sureness) = match kind {
        Password if is_bank_pin(text, &keyword, value) => (true, K::Pin, 82),
        Password => (is_password(value, is_assigned), K::Password, 78),
        Username => {
            let ends_clause = bytes.get(range.end).is_none_or(|it| b".,;!?)\n\"'".contains(it));
            let is_said = ends_clause && text[keyword.end..start].trim() == "is";
            // Who speaks in a dialogue, and then what is said.
            let is_speaker = text[keyword].eq_ignore_ascii_case("user:");
            let is_told = (is_assigned || is_said) && !is_speaker;
            (is_username(value, is_told), K::Username, 72)
        }
        WeChat => (is_wechat(value, is_assigned), K::WeChat, 80),
        Qq | Mobile | WeChatId | Swift => (is_swift(value.as_bytes()), K::SwiftCode, 88),
    };
    is_value.then_some(Candidate { range, kind, sureness })
}

/// The password of a card is its PIN.
fn is_bank_pin(text: &str, keyword: &Range<usize>, value: &str) -> bool {
    (4..=8).contains(&value.len())
        && value.bytes().all(|byte| byte.is_ascii_digit())
        && ["取款", "支付", "交易", "银行卡", "储蓄卡", "信用卡"]
            .iter()
            .any(|before| text[..keyword.start].ends_with(before))
}

/// The number behind the word, also attached to it: `qq123456789`.
fn qq(text: &str, keyword: Range<usize>) -> Option<Candidate> {
    let bytes = text.as_bytes();
    let is_within = bytes.get(keyword.end).is_some_and(u8::is_ascii_alphabetic);
    let (start, _) = skip_gap(text, keyword);
    let len = bytes[start..].iter().take(12).take_while(|byte| byte.is_ascii_digit()).count();
    let end = start + len;
    let goes_on =
        bytes.get(end).is_some_and(|it| it.is_ascii_alphanumeric() || b"@.%-".contains(it));
    let is_count =
        ["年", "个", "人", "万", "版", "款", "元"].iter().any(|it| text[end..].starts_with(it));
    let is_number = (5..=11).contains(&len) && bytes[start] != b'0' && !goes_on && !is_count;
    let range = start..end;
    (is_number && !is_within).then_some(Candidate { range, kind: K::Qq, sureness: 84 })
}

/// The mobile number that begins at `start`.
fn mobile(text: &str, start: usize) -> Option<Candidate> {
    let bytes = &text.as_bytes()[start..];
    let len = bytes.iter().take(12).take_while(|byte| byte.is_ascii_digit()).count();
    let is_mobile = super::checks::is_cn_mobile(&bytes[..len])
        && !bytes.get(len).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'.');
    let range = start..start + len;
    is_mobile.then_some(Candidate { range, kind: K::Phone, sureness: 84 })
}

/// What WeChat calls a user who chose no name.
fn wechat_id(text: &str, start: usize) -> Option<Candidate> {
    let range = start..start + value_len(&text[start..]);
    let id = text[range.clone()].trim_end_matches(|it: char| it.is_ascii_punctuation());
    let is_id = (10..=30).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let range = start..start + id.len();
    is_id.then_some(Candidate { range, kind: K::WeChat, sureness: 90 })
}

/// Over colons, quotes and little words; whether a colon or an equals sign was among them.
fn skip_gap(text: &str, keyword: Range<usize>) -> (usize, bool) {
    let mut at = keyword.end;
    let mut is_assigned = text[..at].ends_with([':', '=']);
    let limit = at + GAP_BYTES_MAX;
    while at < limit.min(text.len()) {
        let rest = &text[at..];
        let Some(character) = rest.chars().next() else { break };
        let is_mark = matches!(
            character,
            ' ' | ':' | '=' | '"' | '\'' | '`' | '(' | '[' | '>' | '“' | '”' | '@'
        ) || rest.starts_with("->");
        if is_mark || HAN_CONNECTORS.contains(character) {
            is_assigned |= matches!(character, ':' | '=' | '是' | '为' | '為');
            at += character.len_utf8();
            continue;
        }
        let word = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let next = rest.as_bytes().get(word);
        let is_whole = next.is_none_or(|next| !next.is_ascii_graphic() || b":=,'\"".contains(next));
        let is_connector =
            is_whole && CONNECTORS.iter().any(|known| rest[..word].eq_ignore_ascii_case(known));
        if word == 0 || !is_connector {
            break;
        }
        at += word;
    }
    (at, is_assigned)
}

fn value_len(rest: &str) -> usize {
    let graphic = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'`');
    let len = rest.bytes().take(VALUE_BYTES_MAX + 1).take_while(graphic).count();
    if len > VALUE_BYTES_MAX { 0 } else { len }
}

fn is_password(value: &str, is_assigned: bool) -> bool {
    let has = |test: fn(&u8) -> bool| value.as_bytes().iter().any(test);
    let is_mixed = has(u8::is_ascii_digit) || has(|byte| b"!@#$%^&*_+~?".contains(byte));
    let is_mask = value.bytes().all(|byte| b"*x.-_?#".contains(&byte));
    let is_place = value.starts_with(['<', '{', '$', '%']) && value.ends_with(['>', '}', '%']);
    let is_word = value.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    let is_call = value.contains("()") || value.ends_with('(') || value.starts_with("os.");
    if value.len() < 4 || is_mask || is_place || is_call {
        return false;
    }
    match is_word {
        true => is_assigned && value.len() >= 5,
        false => is_mixed,
    }
}

fn is_username(value: &str, is_assigned: bool) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-@".contains(&byte);
    let has_mark = value.bytes().any(|byte| byte.is_ascii_digit() || matches!(byte, b'_' | b'.'));
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    (3..=40).contains(&value.len())
        && value.bytes().all(is_part)
        && !value.contains("..")
        && value.as_bytes()[0].is_ascii_alphanumeric()
        && !is_number
        && (has_mark || (is_assigned && value.bytes().any(|byte| byte.is_ascii_lowercase())))
}

/// As WeChat has it: a letter, then letters, digits, `_` and `-`, six to twenty in all.
fn is_wechat(value: &str, is_assigned: bool) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let has_mark = value.bytes().any(|byte| byte.is_ascii_digit() || matches!(byte, b'_' | b'-'));
    (6..=20).contains(&value.len())
        && value.as_bytes()[0].is_ascii_alphabetic()
        && value.bytes().all(is_part)
        && (has_mark || is_assigned)
}

/// ISO 9362: bank, country, place, and perhaps branch.
pub(super) fn is_swift(value: &[u8]) -> bool {
    matches!(value.len(), 8 | 11)
        && value[..6].iter().all(u8::is_ascii_uppercase)
        && value[6..].iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}
