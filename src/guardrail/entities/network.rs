//! Addresses of mail, of the web and of machines.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use super::kind::EntityKind as K;
use super::label::{self, Label};
use super::{Candidate, URL_BYTES_MAX};

/// RFC 5321: 64 before the `@`, 255 behind it.
const LOCAL_BYTES_MAX: usize = 64;
const DOMAIN_BYTES_MAX: usize = 180;

/// The `@` as those write it who hide from collectors of addresses.
pub(super) const AT_SIGNS: [&str; 4] = ["[at]", "(at)", "[AT]", "(AT)"];
const DOTS: [&str; 4] = ["[dot]", "(dot)", "[DOT]", "(DOT)"];
/// Top levels of domains that are told by themselves; `.io` and its like are file names too often.
pub(super) const TOP_LEVELS: &[&str] = &[
    ".com", ".org", ".net", ".edu", ".gov", ".cn", ".info", ".biz", ".io/", ".ly/", ".co/", ".ai/",
    ".me/", ".app/", ".dev/", ".gl/", ".uk", ".de/", ".fr/", ".jp/", ".ru/", ".tv/", ".us/",
    ".ca/",
];

/// The mail address around an `@`.
pub(super) fn email(text: &str, at: usize, from: usize) -> Option<Candidate> {
    let bytes = text.as_bytes();
    if bytes[at] != b'@' {
        return hidden_email(text, at, from);
    }
    let is_local = |byte: &&u8| byte.is_ascii_alphanumeric() || b"._%+-'".contains(byte);
    let before = bytes[from..at].iter().rev().take(LOCAL_BYTES_MAX + 1);
    let mut local = before.take_while(is_local).count();
    // A quotation mark or a full stop before it is not part of it.
    while local > 0 && b"'.-".contains(&bytes[at - local]) {
        local -= 1;
    }
    let domain = domain_len(&bytes[at + 1..]);
    if local == 0 || domain == 0 {
        return spaced_email(text, at, from);
    }
    let candidate = Candidate { range: at - local..at + 1 + domain, kind: K::Email, sureness: 95 };
    (local <= LOCAL_BYTES_MAX).then_some(candidate)
}

/// `name[at]example[dot]com`
fn hidden_email(text: &str, at: usize, from: usize) -> Option<Candidate> {
    let bytes = text.as_bytes();
    let is_local = |byte: &&u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(byte);
    let local = bytes[from..at].iter().rev().take(LOCAL_BYTES_MAX).take_while(is_local).count();
    let (mut end, mut name) = (at + AT_SIGNS[0].len(), String::new());
    while name.len() < DOMAIN_BYTES_MAX {
        let rest = &text[end..];
        if let Some(dot) = DOTS.iter().find(|dot| rest.starts_with(**dot)) {
            name.push('.');
            end += dot.len();
        } else if let Some(byte) = rest
            .bytes()
            .next()
            .filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        {
            name.push(char::from(byte));
            end += 1;
        } else {
            break;
        }
    }
    if name.ends_with('.') {
        name.pop();
        end -= 1;
    }
    let is_address = local > 0 && is_domain(name.as_bytes());
    is_address.then_some(Candidate { range: at - local..end, kind: K::Email, sureness: 88 })
}

/// Bytes of a domain name with a top level at the start of `bytes`.
fn domain_len(bytes: &[u8]) -> usize {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let mut len = bytes.iter().take(DOMAIN_BYTES_MAX).take_while(is_part).count();
    while len > 0 && !bytes[len - 1].is_ascii_alphanumeric() {
        len -= 1;
    }
    match is_domain(&bytes[..len]) {
        true => len,
        false => 0,
    }
}

fn is_domain(name: &[u8]) -> bool {
    let mut labels: Vec<&[u8]> = name.split(|byte| *byte == b'.').collect();
    let Some(top) = labels.pop() else { return false };
    let is_label = |label: &&[u8]| {
        !label.is_empty() && label.len() <= 63 && label[0] != b'-' && label[label.len() - 1] != b'-'
    };
    !labels.is_empty()
        && labels.iter().all(is_label)
        && (2..=24).contains(&top.len())
        && top.iter().all(u8::is_ascii_alphabetic)
}

/// `n a m e @ d o m a i n . c o m`
fn spaced_email(text: &str, at: usize, from: usize) -> Option<Candidate> {
    let bytes = text.as_bytes();
    let single = |place: usize| {
        let byte = *bytes.get(place).filter(|byte| byte.is_ascii_graphic())?;
        let is_alone = bytes.get(place + 1).is_none_or(|next| !next.is_ascii_graphic());
        is_alone.then_some(byte)
    };
    let mut start = at;
    while start >= from + 2
        && at - start < 2 * LOCAL_BYTES_MAX
        && bytes[start - 1] == b' '
        && (bytes[start - 2].is_ascii_alphanumeric() || b"._%+-".contains(&bytes[start - 2]))
        && (start < 3 || !bytes[start - 3].is_ascii_graphic())
    {
        start -= 2;
    }
    let (mut end, mut name) = (at + 1, Vec::new());
    while name.len() < DOMAIN_BYTES_MAX
        && bytes.get(end) == Some(&b' ')
        && let Some(byte) = single(end + 1)
        && (byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
    {
        name.push(byte);
        end += 2;
    }
    let is_address = start < at && is_domain(&name);
    is_address.then_some(Candidate { range: start..end, kind: K::Email, sureness: 85 })
}

/// The web address whose `://` or `www.` is at `at`.
pub(super) fn url(text: &str, at: usize, from: usize) -> Option<Candidate> {
    let bytes = text.as_bytes();
    let (start, host) = match bytes[at] {
        b':' => {
            let before = bytes[from..at].iter().rev().take(12);
            let scheme = before.take_while(|byte| byte.is_ascii_alphabetic()).count();
            (at - scheme, at + 3)
        }
        _ => (at, at + 4),
    };
    let is_bordered = start == 0 || !bytes[start - 1].is_ascii_alphanumeric();
    if start == at && bytes[at] == b':' || !is_bordered {
        return None;
    }
    let is_part = |byte: &&u8| byte.is_ascii_graphic() && !b"\"<>`{}|\\^".contains(byte);
    let mut end = start + bytes[start..].iter().take(URL_BYTES_MAX).take_while(is_part).count();
    while end > host && b".,;:!?'*_~".contains(&bytes[end - 1]) {
        end -= 1;
    }
    // A bracket that was opened before the address closes behind it.
    for (open, close) in [(b'(', b')'), (b'[', b']')] {
        let count = |byte: u8| bytes[start..end].iter().filter(|b| **b == byte).count();
        if bytes[end - 1] == close && count(close) > count(open) {
            end -= 1;
        }
    }
    let is_host = end > host && bytes[host].is_ascii_alphanumeric();
    is_host.then_some(Candidate { range: start..end, kind: K::Url, sureness: 90 })
}

/// The web address without a scheme whose top level is at `top`.
pub(super) fn bare_url(text: &str, top: usize, from: usize) -> Option<Candidate> {
    let bytes = text.as_bytes();
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let before = bytes[from..top].iter().rev().take(DOMAIN_BYTES_MAX).take_while(is_part).count();
    let start = top - before;
    let name = bytes[start..].iter().take(DOMAIN_BYTES_MAX).take_while(is_part).count();
    let mut host_end = start + name;
    while host_end > start && !bytes[host_end - 1].is_ascii_alphanumeric() {
        host_end -= 1;
    }
    let host = &text[start..host_end];
    let has_path = bytes.get(host_end) == Some(&b'/')
        && bytes.get(host_end + 1).is_some_and(u8::is_ascii_alphanumeric);
    let last = host.rfind('.')?;
    let is_known = TOP_LEVELS.iter().any(|top| {
        let (top, needs_path) = top.strip_suffix('/').map_or((*top, false), |top| (top, true));
        &host[last..] == top && (has_path || !needs_path)
    });
    // Frameworks of that name, and names of packages and methods.
    let is_code = ["ASP.NET", "asp.net", "ado.net", "vb.net", "VB.net"].contains(&host)
        || matches!(bytes.get(host_end), Some(b'(' | b'@' | b'_' | b'=' | b':'))
        || start > 0 && b"@_/\\$".contains(&bytes[start - 1]);
    if !is_known || is_code || last < 2 || !is_domain(host.as_bytes()) {
        return None;
    }
    let mut end = host_end;
    if has_path {
        let is_path = |byte: &&u8| byte.is_ascii_graphic() && !b"\"<>`{}|\\^".contains(byte);
        end += bytes[end..].iter().take(URL_BYTES_MAX).take_while(is_path).count();
        while b".,;:!?'*_~)]".contains(&bytes[end - 1]) {
            end -= 1;
        }
    }
    Some(Candidate { range: start..end, kind: K::Url, sureness: 82 })
}

/// The password in an address of a server: `scheme://user:password@host`.
pub(super) fn password_in(text: &str, url: Range<usize>) -> Option<Candidate> {
    let (scheme, rest) = text[url.clone()].split_once("://")?;
    let (user, _) = rest.split('/').next()?.rsplit_once('@')?;
    let (name, password) = user.split_once(':')?;
    let start = url.start + scheme.len() + "://".len() + name.len() + 1;
    let range = start..start + password.len();
    (!password.is_empty()).then_some(Candidate { range, kind: K::Password, sureness: 85 })
}

/// An address in the token around a digit, wherever in it that is.
pub(super) fn in_token(text: &str, token: Range<usize>, digit: usize) -> Option<Candidate> {
    let part = &text.as_bytes()[token.clone()];
    let find = |sign: &[u8]| part.windows(sign.len()).position(|it| it == sign);
    if let Some(at) = find(b"://").or_else(|| find(b"www.")) {
        let found = url(text, token.start + at, token.start);
        if let Some(found) = found.filter(|found| found.range.contains(&digit)) {
            return Some(found);
        }
    }
    if let Some(at) = find(b"@") {
        let found = email(text, token.start + at, token.start);
        if let Some(found) = found.filter(|found| found.range.contains(&digit)) {
            return Some(found);
        }
    }
    if text.as_bytes()[digit].is_ascii() { machine(text, token, digit) } else { None }
}

/// Addresses of the Internet protocols, and of network cards.
fn machine(text: &str, token: Range<usize>, digit: usize) -> Option<Candidate> {
    let bytes = text.as_bytes();
    let is_part = |byte: &&u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.' | b'-');
    let start = digit - bytes[token.start..digit].iter().rev().take_while(is_part).count();
    let mut end = digit + bytes[digit..token.end].iter().take_while(is_part).count();
    let mut start = start;
    while start < digit && matches!(bytes[start], b'.' | b'-') {
        start += 1;
    }
    while end > digit && matches!(bytes[end - 1], b'.' | b'-')
        || bytes[end - 1] == b':' && !bytes[..end].ends_with(b"::")
    {
        end -= 1;
    }
    let is_bordered = (start == 0 || !bytes[start - 1].is_ascii_alphanumeric())
        && !bytes.get(end).is_some_and(u8::is_ascii_alphanumeric);
    // Behind an address there may be a port: `1.2.3.4:80`.
    let address = &text[start..end];
    let (host, _) = address.split_once(':').unwrap_or((address, ""));
    if host.len() >= 7 && host.parse::<Ipv4Addr>().is_ok() {
        let is_version = label::before(text, start).is_some_and(|it| it.label == Label::Harmless);
        let range = start..start + host.len();
        let is_alone = start == 0 || !bytes[start - 1].is_ascii_alphanumeric();
        let found = Candidate { range, kind: K::IpAddress, sureness: 88 };
        return (is_alone && !is_version).then_some(found);
    }
    if !is_bordered {
        return None;
    }
    let is_mac = address.len() == 17
        && (address.split(':').count() == 6 || address.split('-').count() == 6)
        && address.split([':', '-']).all(|pair| pair.len() == 2);
    let has_letter = address.bytes().any(|byte| byte.is_ascii_alphabetic());
    let is_dotted = address.len() == 14
        && address.split('.').count() == 3
        && address.split('.').all(|part| part.len() == 4)
        && has_letter;
    let is_called = address.len() == 12
        && address.bytes().all(|byte| byte.is_ascii_hexdigit())
        && label::before(text, start).is_some_and(|it| it.label == Label::Of(K::MacAddress));
    if is_mac || is_dotted || is_called {
        return Some(Candidate { range: start..end, kind: K::MacAddress, sureness: 92 });
    }
    // `::` and a short rest is a path of some programming language.
    let is_ipv6 = address.len() >= 6 && address.parse::<Ipv6Addr>().is_ok();
    is_ipv6.then_some(Candidate { range: start..end, kind: K::IpAddress, sureness: 92 })
}
