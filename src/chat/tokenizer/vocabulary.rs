//! What both container formats say about a tokenizer, checked once for both.

use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, Vocab};

use super::{TokenizerError, byte_level, pre_tokenizer::PreTokenizer};
use crate::limits;

/// The tags between which reasoning models write; their text is shown even where a checkpoint
/// declares them control tokens, because the reasoning parser reads it.
pub(in crate::chat) const REASONING_TAGS: [&str; 2] = ["<think>", "</think>"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Made by merging bytes.
    Normal,
    /// Stands for its literal text, and only the template can write it.
    Added,
    /// Only the template can write it, and it has no text.
    Control,
    /// A place in the embedding table that nothing refers to.
    Unused,
}

#[derive(Debug)]
pub(super) struct Token {
    pub(super) id: u32,
    pub(super) text: String,
    pub(super) kind: TokenKind,
}

/// Names of the fields that errors speak about, in the words of the format.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldNames {
    pub(super) tokens: &'static str,
    pub(super) merges: &'static str,
}

#[derive(Debug)]
pub(super) struct Vocabulary {
    pub(super) fields: FieldNames,
    pub(super) tokens: Vec<Token>,
    pub(super) merges: Vec<(String, String)>,
    pub(super) pre_tokenizer: PreTokenizer,
    /// A piece that is a token as a whole is not merged from its bytes.
    pub(super) ignore_merges: bool,
    /// Text is brought into Unicode's composed form first.
    pub(super) composes: bool,
    /// Begins every prompt.
    pub(super) bos_id: Option<u32>,
}

/// The bytes of every token, by id.
#[derive(Debug)]
pub(super) struct TokenBytes {
    bytes: Vec<u8>,
    /// Token `id` is `bytes[starts[id]..starts[id + 1]]`.
    starts: Vec<u32>,
}

impl TokenBytes {
    pub(super) fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        match (self.starts.get(id), self.starts.get(id + 1)) {
            (Some(&start), Some(&end)) => &self.bytes[start as usize..end as usize],
            _ => &[],
        }
    }

    pub(super) fn num_tokens(&self) -> usize {
        self.starts.len() - 1
    }
}

impl Vocabulary {
    /// Refuses what cannot be a vocabulary: too many tokens, empty or overlong ones, and two with
    /// one text or one id.
    pub(super) fn check_tokens(&self) -> Result<(), TokenizerError> {
        let refuse = |reason| TokenizerError::Invalid { field: self.fields.tokens, reason };
        let (count, limit) = (self.tokens.len(), limits::TOKENS_MAX);
        if count == 0 || count > limit {
            return Err(refuse(format!(
                "has {count} tokens; at least 1 and at most {limit} can be"
            )));
        }
        let mut texts = HashSet::with_capacity(count);
        let mut ids = HashSet::with_capacity(count);
        for Token { id, text, .. } in &self.tokens {
            let limit = limits::TOKEN_BYTES_MAX;
            if *id as usize >= limits::TOKENS_MAX {
                return Err(refuse(format!("id {id} is not below {}", limits::TOKENS_MAX)));
            }
            if text.is_empty() || text.len() > limit {
                let bytes = text.len();
                return Err(refuse(format!("token {id} has {bytes} bytes of at most {limit}")));
            }
            if !ids.insert(id) {
                return Err(refuse(format!("two tokens have the id {id}")));
            }
            if !texts.insert(text) {
                return Err(refuse(format!("token {id} has the text of another one")));
            }
        }
        Ok(())
    }

    /// The tokens that only a template can write.
    pub(super) fn special_tokens(&self) -> impl Iterator<Item = &Token> {
        self.tokens
            .iter()
            .filter(|token| matches!(token.kind, TokenKind::Added | TokenKind::Control))
    }

    /// The merging model over the normal tokens: it does not know any other, so no text whatever
    /// can produce one.
    pub(super) fn byte_pair_model(&self) -> Result<BPE, TokenizerError> {
        let field = self.fields.merges;
        let refuse = |reason| TokenizerError::Invalid { field, reason };
        let vocab: Vocab = self
            .tokens
            .iter()
            .filter(|token| token.kind == TokenKind::Normal)
            .map(|token| (token.text.clone(), token.id))
            .collect();
        let (count, limit) = (self.merges.len(), limits::MERGES_MAX);
        if count > limit {
            return Err(refuse(format!("has {count} merges, with a limit of {limit}")));
        }
        let mut pairs = HashSet::with_capacity(count);
        for (index, (left, right)) in self.merges.iter().enumerate() {
            // The model's builder trusts that a merged token is in the vocabulary.
            if ![left, right, &format!("{left}{right}")]
                .iter()
                .all(|&part| vocab.contains_key(part))
            {
                return Err(refuse(format!("merge {index} names a token that there is not")));
            }
            if !pairs.insert((left, right)) {
                return Err(refuse(format!("merge {index} repeats another one")));
            }
        }
        BPE::builder()
            .vocab_and_merges(vocab, self.merges.clone())
            .ignore_merges(self.ignore_merges)
            .build()
            .map_err(|error| refuse(error.to_string()))
    }

    pub(super) fn token_bytes(&self) -> TokenBytes {
        let num_ids = self.tokens.iter().map(|token| token.id as usize + 1).max().unwrap_or(0);
        let mut by_id: Vec<Option<&Token>> = vec![None; num_ids];
        for token in &self.tokens {
            by_id[token.id as usize] = Some(token);
        }
        let mut bytes = Vec::new();
        let mut starts = Vec::with_capacity(num_ids + 1);
        starts.push(0);
        for token in by_id {
            if let Some(token) = token {
                token.append_bytes(&mut bytes);
            }
            starts.push(u32::try_from(bytes.len()).expect("the limits on tokens keep it small"));
        }
        TokenBytes { bytes, starts }
    }
}

impl Token {
    fn append_bytes(&self, bytes: &mut Vec<u8>) {
        let is_literal = match self.kind {
            // Not every vocabulary keeps to the alphabet; such a token stands for itself.
            TokenKind::Normal => !byte_level::read(&self.text, bytes),
            TokenKind::Added => true,
            TokenKind::Control => REASONING_TAGS.contains(&self.text.as_str()),
            TokenKind::Unused => false,
        };
        if is_literal {
            bytes.extend_from_slice(self.text.as_bytes());
        }
    }
}
