//! Token ids to text, one at a time, never splitting a character.

use std::sync::Arc;

use crate::chat::Tokenizer;

#[derive(Debug)]
pub struct Detokenizer {}

impl Detokenizer {
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        let _ = tokenizer;
        unimplemented!()
    }

    /// Text that is complete after this token; empty while a character is incomplete.
    pub fn push(&mut self, id: u32) -> String {
        let _ = id;
        unimplemented!()
    }

    /// What is left at the end: U+FFFD for an incomplete character.
    pub fn finish(&mut self) -> String {
        unimplemented!()
    }
}
