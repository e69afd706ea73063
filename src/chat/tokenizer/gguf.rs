//! A tokenizer rebuilt from the keys `tokenizer.ggml.*` of a GGUF header.

use super::{
    TokenizerError,
    pre_tokenizer::PreTokenizer,
    vocabulary::{FieldNames, Token, TokenKind, Vocabulary},
};
use crate::format::gguf::{Metadata, Required};

const MODEL: &str = "tokenizer.ggml.model";
const PRE_TOKENIZER: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";
const BOS_ID: &str = "tokenizer.ggml.bos_token_id";
const ADD_BOS: &str = "tokenizer.ggml.add_bos_token";

pub(super) fn read(metadata: &Metadata) -> Result<Vocabulary, TokenizerError> {
    let model = metadata.string(MODEL).required(MODEL)?;
    if model != "gpt2" {
        return Err(TokenizerError::unsupported(MODEL, model, "gpt2 (byte-level byte pairs)"));
    }
    let (pre_tokenizer, ignore_merges, begins_with_bos) =
        match metadata.string(PRE_TOKENIZER).required(PRE_TOKENIZER)? {
            "qwen2" | "deepseek-r1-qwen" => (PreTokenizer::Qwen2, false, false),
            "llama-bpe" => (PreTokenizer::Llama3, true, true),
            "smollm" => (PreTokenizer::SmolLm, false, false),
            other => {
                let supported = "qwen2, deepseek-r1-qwen, llama-bpe and smollm";
                return Err(TokenizerError::unsupported(PRE_TOKENIZER, other, supported));
            }
        };
    let tokens = tokens(metadata)?;
    let add_bos = metadata.boolean(ADD_BOS)?.unwrap_or(begins_with_bos);
    let bos_id = if add_bos { token_id(metadata, BOS_ID, tokens.len())? } else { None };
    Ok(Vocabulary {
        fields: FieldNames { tokens: TOKENS, merges: MERGES },
        tokens,
        merges: merges(metadata)?,
        pre_tokenizer,
        ignore_merges,
        // The format does not say, and the engine that defines it never composes.
        composes: false,
        bos_id,
    })
}

/// The id that `key` holds, checked against the vocabulary; `None` without the key.
pub(in crate::chat) fn token_id(
    metadata: &Metadata,
    key: &'static str,
    vocab_size: usize,
) -> Result<Option<u32>, TokenizerError> {
    let Some(id) = metadata.unsigned(key)? else { return Ok(None) };
    match u32::try_from(id) {
        Ok(id) if (id as usize) < vocab_size => Ok(Some(id)),
        _ => {
            let reason = format!("is {id}, but the vocabulary has {vocab_size} tokens");
            Err(TokenizerError::Invalid { field: key, reason })
        }
    }
}

fn tokens(metadata: &Metadata) -> Result<Vec<Token>, TokenizerError> {
    let texts = metadata.strings(TOKENS).required(TOKENS)?;
    // Without the types control tokens could not be told from text.
    let types = metadata.integers(TOKEN_TYPES).required(TOKEN_TYPES)?;
    let refuse = |reason| TokenizerError::Invalid { field: TOKEN_TYPES, reason };
    if types.len() != texts.len() {
        let (types, tokens) = (types.len(), texts.len());
        return Err(refuse(format!("has {types} entries for {tokens} tokens")));
    }
    (0u32..)
        .zip(texts.iter().zip(types))
        .map(|(id, (text, token_type))| {
            let kind = match token_type {
                1 => TokenKind::Normal,
                // 2 is the token for unknown text, which bytes make superfluous.
                2 | 3 => TokenKind::Control,
                4 => TokenKind::Added,
                5 => TokenKind::Unused,
                other => return Err(refuse(format!("token {id} has the unknown type {other}"))),
            };
            Ok(Token { id, text: text.clone(), kind })
        })
        .collect()
}

fn merges(metadata: &Metadata) -> Result<Vec<(String, String)>, TokenizerError> {
    let merges = metadata.strings(MERGES).required(MERGES)?;
    merges
        .iter()
        .enumerate()
        .map(|(index, merge)| match merge.split_once(' ') {
            Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
            None => {
                let reason = format!("merge {index} is not two tokens with a space between");
                Err(TokenizerError::Invalid { field: MERGES, reason })
            }
        })
        .collect()
}
