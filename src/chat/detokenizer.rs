//! Token ids to text, one at a time, never splitting a character.
//!
//! A token is a piece of a byte sequence, so a character may be spread over several tokens. Bytes
//! that may still become a character are held back, at most three of them; bytes that cannot are
//! replaced by U+FFFD exactly as [`String::from_utf8_lossy`] replaces them in the whole output.

use std::{str, sync::Arc};

use crate::chat::Tokenizer;

#[derive(Debug)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    /// The beginning of a character; its other bytes belong to tokens still to come.
    incomplete: Incomplete,
}

impl Detokenizer {
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, incomplete: Incomplete::default() }
    }

    /// Text that is complete after this token; empty while a character is incomplete.
    pub fn push(&mut self, id: u32) -> String {
        self.incomplete.decode(self.tokenizer.token_bytes(id))
    }

    /// What is left at the end: U+FFFD for an incomplete character.
    pub fn finish(&mut self) -> String {
        match std::mem::take(&mut self.incomplete).len {
            0 => String::new(),
            _ => char::REPLACEMENT_CHARACTER.into(),
        }
    }
}

/// At most the first three bytes of a four-byte character.
#[derive(Debug, Default)]
struct Incomplete {
    bytes: [u8; 3],
    len: usize,
}

impl Incomplete {
    fn decode(&mut self, bytes: &[u8]) -> String {
        if self.len == 0 {
            return self.decode_from_boundary(bytes);
        }
        let mut joined = Vec::with_capacity(self.len + bytes.len());
        joined.extend_from_slice(&self.bytes[..self.len]);
        joined.extend_from_slice(bytes);
        self.decode_from_boundary(&joined)
    }

    fn decode_from_boundary(&mut self, mut bytes: &[u8]) -> String {
        self.len = 0;
        let mut text = String::with_capacity(bytes.len());
        loop {
            let error = match str::from_utf8(bytes) {
                Ok(valid) => {
                    text.push_str(valid);
                    return text;
                }
                Err(error) => error,
            };
            let (valid, rest) = bytes.split_at(error.valid_up_to());
            text.push_str(str::from_utf8(valid).expect("checked up to here"));
            let Some(invalid) = error.error_len() else {
                self.bytes[..rest.len()].copy_from_slice(rest);
                self.len = rest.len();
                return text;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            bytes = &rest[invalid..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chat::fixture;

    /// Pushes every id and says what came out, piece by piece.
    fn stream(tokenizer: &Arc<Tokenizer>, ids: &[u32]) -> Vec<String> {
        let mut detokenizer = Detokenizer::new(Arc::clone(tokenizer));
        let mut pieces: Vec<_> = ids.iter().map(|&id| detokenizer.push(id)).collect();
        pieces.push(detokenizer.finish());
        pieces
    }

    fn whole(tokenizer: &Tokenizer, ids: &[u32]) -> String {
        let bytes: Vec<u8> =
            ids.iter().flat_map(|&id| tokenizer.token_bytes(id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn a_character_spread_over_tokens_is_sent_once_complete() {
        let tokenizer = fixture::tokenizer();
        let ids: Vec<u32> = "a🦀".bytes().map(fixture::byte_id).collect();
        assert_eq!(stream(&tokenizer, &ids), ["a", "", "", "", "🦀", ""]);
    }

    #[test]
    fn a_character_cut_off_by_the_end_becomes_one_replacement_character() {
        let tokenizer = fixture::tokenizer();
        let ids: Vec<u32> = "🦀".bytes().take(3).map(fixture::byte_id).collect();
        assert_eq!(stream(&tokenizer, &ids), ["", "", "", "\u{fffd}"]);
    }

    #[test]
    fn control_tokens_and_unknown_ids_have_no_text() {
        let tokenizer = fixture::tokenizer();
        let control = tokenizer.id_of(fixture::EOS).unwrap();
        assert_eq!(stream(&tokenizer, &[control, u32::MAX]).concat(), "");
    }

    proptest! {
        #[test]
        fn streaming_equals_decoding_the_whole(
            ids in proptest::collection::vec(0u32..fixture::VOCAB_SIZE + 2, 0..64),
        ) {
            let tokenizer = fixture::tokenizer();
            prop_assert_eq!(stream(&tokenizer, &ids).concat(), whole(&tokenizer, &ids));
        }

        #[test]
        fn streaming_valid_text_never_shows_a_replacement_character(text in "\\PC{0,40}") {
            let tokenizer = fixture::tokenizer();
            let ids: Vec<u32> = text.bytes().map(fixture::byte_id).collect();
            let mut detokenizer = Detokenizer::new(Arc::clone(&tokenizer));
            let mut sent = String::new();
            for (pushed, &id) in ids.iter().enumerate() {
                sent.push_str(&detokenizer.push(id));
                prop_assert!(pushed + 1 - sent.len() <= 3, "more than three bytes held back");
            }
            sent.push_str(&detokenizer.finish());
            prop_assert_eq!(sent, text);
        }
    }
}
