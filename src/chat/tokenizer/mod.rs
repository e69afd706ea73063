//! Text to token ids.
//!
//! The tokenizer is made so that content cannot become a control token by construction: the merging
//! model does not know control tokens, and they are looked for in a template's scaffolding alone.

mod byte_level;
pub(in crate::chat) mod gguf;
mod json;
mod pre_tokenizer;
pub(in crate::chat) mod vocabulary;

use std::borrow::Cow;
use std::collections::HashMap;

use aho_corasick::{AhoCorasick, MatchKind};
use thiserror::Error;
use tokenizers::{Model, NormalizedString, models::bpe::BPE};

use crate::chat::Prompt;
use crate::format::gguf::{Metadata, MetadataError};
use crate::limits;
use pre_tokenizer::PreTokenizer;
#[cfg(test)]
pub(in crate::chat) use pre_tokenizer::QWEN2_PATTERN;
use vocabulary::{TokenBytes, Vocabulary};

#[derive(Debug)]
pub struct Tokenizer {
    model: BPE,
    pre_tokenizer: PreTokenizer,
    composes: bool,
    bos_id: Option<u32>,
    bytes: TokenBytes,
    special: SpecialTokens,
}

/// The tokens that only a template can write.
#[derive(Debug)]
struct SpecialTokens {
    search: AhoCorasick,
    /// By pattern of `search`.
    tokens: Vec<(String, u32)>,
}

#[derive(Debug, Error)]
pub enum TokenizerError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("{field} `{value}` is not supported; supported: {supported}")]
    Unsupported { field: &'static str, value: String, supported: &'static str },
    #[error("{field} {reason}")]
    Invalid { field: &'static str, reason: String },
    #[error("the text has {bytes} bytes, with a limit of {limit}")]
    TextTooLong { bytes: usize, limit: usize },
    #[error("the text cannot be tokenized: {0}")]
    Model(String),
}

impl TokenizerError {
    fn unsupported(field: &'static str, value: &str, supported: &'static str) -> Self {
        Self::Unsupported { field, value: value.to_owned(), supported }
    }
}

impl Tokenizer {
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        Self::new(&json::read(json)?)
    }

    pub fn from_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        Self::new(&gguf::read(metadata)?)
    }

    fn new(vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        vocabulary.check_tokens()?;
        Ok(Self {
            model: vocabulary.byte_pair_model()?,
            pre_tokenizer: vocabulary.pre_tokenizer,
            composes: vocabulary.composes,
            bos_id: vocabulary.bos_id,
            bytes: vocabulary.token_bytes(),
            special: SpecialTokens::new(vocabulary)?,
        })
    }

    /// Overrides whether prompts begin with `id`, for checkpoints that say so outside of their
    /// tokenizer.
    pub(in crate::chat) fn with_bos(mut self, id: Option<u32>) -> Self {
        self.bos_id = id;
        self
    }

    /// Begins every prompt, if the checkpoint says so.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// Ids of content. No text can produce a control token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        check_length(text)?;
        let mut ids = Vec::new();
        self.encode_into(text, &mut ids)?;
        Ok(ids)
    }

    /// Ids of a rendered template: control tokens in its scaffolding, none in its content. The
    /// token that begins a prompt is there once, whether or not the template writes it.
    pub fn encode_prompt(&self, prompt: &Prompt) -> Result<Vec<u32>, TokenizerError> {
        let marked = prompt.marked();
        check_length(marked)?;
        let mut ids = Vec::new();
        let mut start = 0;
        for found in self.special.search.find_iter(marked) {
            let (token, id) = &self.special.tokens[found.pattern()];
            if prompt.holds_as_content(token) {
                continue;
            }
            self.encode_into(&prompt.unmark(&marked[start..found.start()]), &mut ids)?;
            ids.push(*id);
            start = found.end();
        }
        self.encode_into(&prompt.unmark(&marked[start..]), &mut ids)?;
        match self.bos_id {
            Some(bos_id) if ids.first() != Some(&bos_id) => ids.insert(0, bos_id),
            _ => {}
        }
        Ok(ids)
    }

    /// The bytes that a token stands for; empty for control tokens and unknown ids.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id)
    }

    /// The id of a token as the vocabulary spells it.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.special_id(token).or_else(|| self.model.token_to_id(token))
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.bytes.num_tokens()
    }

    /// The first id below both sizes that is not the same token in `other`. Tables of embeddings
    /// are padded, and one more than the other.
    pub fn first_difference(&self, other: &Self) -> Option<u32> {
        let (own, others) = (self.special.by_id(), other.special.by_id());
        let num_common = self.vocab_size().min(other.vocab_size()) as u32;
        (0..num_common).find(|id| {
            own.get(id) != others.get(id) || self.token_bytes(*id) != other.token_bytes(*id)
        })
    }

    /// The id of a token that only a template can write.
    pub(in crate::chat) fn special_id(&self, token: &str) -> Option<u32> {
        self.special.tokens.iter().find(|(text, _)| text == token).map(|&(_, id)| id)
    }

    /// The tokens that only a template can write.
    pub(in crate::chat) fn special_tokens(&self) -> impl Iterator<Item = &str> {
        self.special.tokens.iter().map(|(text, _)| text.as_str())
    }

    /// Bytes that the vocabulary has no token for are left out, as in every implementation.
    fn encode_into(&self, text: &str, ids: &mut Vec<u32>) -> Result<(), TokenizerError> {
        let text = if self.composes { composed(text) } else { Cow::Borrowed(text) };
        let mut written = String::new();
        let mut failed = None;
        self.pre_tokenizer.split(&text, |piece| {
            byte_level::write(piece, &mut written);
            match self.model.tokenize(&written) {
                Ok(tokens) => ids.extend(tokens.iter().map(|token| token.id)),
                Err(error) => failed = Some(error),
            }
        });
        match failed {
            Some(error) => Err(TokenizerError::Model(error.to_string())),
            None => Ok(()),
        }
    }
}

impl SpecialTokens {
    fn new(vocabulary: &Vocabulary) -> Result<Self, TokenizerError> {
        let tokens: Vec<(String, u32)> =
            vocabulary.special_tokens().map(|token| (token.text.clone(), token.id)).collect();
        let (count, limit) = (tokens.len(), limits::SPECIAL_TOKENS_MAX);
        let refuse = |reason| TokenizerError::Invalid { field: vocabulary.fields.tokens, reason };
        if count > limit {
            return Err(refuse(format!("has {count} control tokens, with a limit of {limit}")));
        }
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(tokens.iter().map(|(text, _)| text))
            .map_err(|error| refuse(error.to_string()))?;
        Ok(Self { search, tokens })
    }

    fn by_id(&self) -> HashMap<u32, &str> {
        self.tokens.iter().map(|(text, id)| (*id, text.as_str())).collect()
    }
}

fn check_length(text: &str) -> Result<(), TokenizerError> {
    let (bytes, limit) = (text.len(), limits::TOKENIZED_TEXT_BYTES_MAX);
    if bytes > limit { Err(TokenizerError::TextTooLong { bytes, limit }) } else { Ok(()) }
}

/// Unicode's composed form, NFC. Most text has it already, line by line: a line break never
/// composes with anything.
fn composed(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_surely_composed) {
        return Cow::Borrowed(text);
    }
    let mut composed = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        if line.chars().all(is_surely_composed) {
            composed.push_str(line);
        } else {
            composed.push_str(NormalizedString::from(line).nfc().get());
        }
    }
    Cow::Owned(composed)
}

/// Characters that neither decompose nor combine with one before them, for the scripts in common
/// use: Latin below the combining marks, kana, CJK ideographs and punctuation.
fn is_surely_composed(character: char) -> bool {
    matches!(
        character,
        '\0'..='\u{2ff}'
            | '\u{2010}'..='\u{2027}'
            | '\u{3000}'..='\u{3029}'
            | '\u{3041}'..='\u{3096}'
            | '\u{30a0}'..='\u{30ff}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{ff00}'..='\u{ffef}'
    )
}

#[cfg(test)]
mod tests;
