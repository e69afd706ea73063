//! The byte-level alphabet of GPT-2: each byte is written as one printable character, so that a
//! vocabulary of strings can hold any bytes. Printable Latin-1 stands for itself; the other 68
//! bytes are written as the characters from U+0100 on, in order.

use std::sync::LazyLock;

const FIRST_SHIFTED: u32 = 0x100;

/// The character that stands for each byte.
static CHARS: LazyLock<[char; 256]> = LazyLock::new(|| {
    let mut shifted = (FIRST_SHIFTED..).filter_map(char::from_u32);
    std::array::from_fn(|index| {
        let byte = index as u8;
        match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
            _ => shifted.next().expect("there are more characters than bytes"),
        }
    })
});

/// The byte that each character below U+0144 stands for.
static BYTES: LazyLock<Vec<Option<u8>>> = LazyLock::new(|| {
    let mut bytes = Vec::new();
    for (byte, &character) in (0..=u8::MAX).zip(CHARS.iter()) {
        let index = character as usize;
        bytes.resize(bytes.len().max(index + 1), None);
        bytes[index] = Some(byte);
    }
    bytes
});

/// Writes `text` in the byte-level alphabet, in place of what `written` held.
pub(super) fn write(text: &str, written: &mut String) {
    written.clear();
    written.extend(text.bytes().map(|byte| CHARS[usize::from(byte)]));
}

/// Appends the bytes that `token` stands for; `false`, and nothing, when it is not written in this
/// alphabet.
pub(super) fn read(token: &str, bytes: &mut Vec<u8>) -> bool {
    let before = bytes.len();
    for character in token.chars() {
        match BYTES.get(character as usize).copied().flatten() {
            Some(byte) => bytes.push(byte),
            None => {
                bytes.truncate(before);
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        let all: String = CHARS.iter().collect();
        let mut bytes = Vec::new();
        assert!(read(&all, &mut bytes));
        assert_eq!(bytes, (0..=u8::MAX).collect::<Vec<_>>());
        assert!(all.chars().all(|character| !character.is_whitespace()));
    }

    #[test]
    fn space_and_newline_have_their_well_known_characters() {
        let mut written = String::new();
        write(" a\n", &mut written);
        assert_eq!(written, "ĠaĊ");
    }

    #[test]
    fn other_characters_are_not_read() {
        let mut bytes = vec![1];
        assert!(!read("a｜", &mut bytes));
        assert_eq!(bytes, [1]);
    }
}
