//! Text to token ids.

use thiserror::Error;

use crate::{chat::Prompt, format::gguf::Metadata};

#[derive(Debug)]
pub struct Tokenizer {}

#[derive(Debug, Error)]
pub enum TokenizerError {
    #[error("tokenizer: {0}")]
    Invalid(String),
}

impl Tokenizer {
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        let _ = json;
        unimplemented!()
    }

    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        let _ = metadata;
        unimplemented!()
    }

    /// Ids of content. No text can produce a control token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let _ = text;
        unimplemented!()
    }

    /// Ids of a rendered template: control tokens in its scaffolding, none in its content.
    pub fn encode_prompt(&self, prompt: &Prompt) -> Result<Vec<u32>, TokenizerError> {
        let _ = prompt;
        unimplemented!()
    }

    /// The bytes that a token stands for; empty for control tokens and unknown ids.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        let _ = id;
        unimplemented!()
    }

    pub fn id_of(&self, token: &str) -> Option<u32> {
        let _ = token;
        unimplemented!()
    }

    pub fn vocab_size(&self) -> usize {
        unimplemented!()
    }
}
