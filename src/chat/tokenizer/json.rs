//! A tokenizer from the `tokenizer.json` of a Hugging Face checkpoint.
//!
//! The file can describe any pipeline of normalizers, pre-tokenizers and models. The families that
//! are served use few of them; any other is refused by name, since tokens that are nearly right
//! make a model quietly worse.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    TokenizerError,
    pre_tokenizer::{LLAMA3_PATTERN, PreTokenizer, QWEN2_PATTERN},
    vocabulary::{FieldNames, Token, TokenKind, Vocabulary},
};
use crate::limits;

const ADDED_TOKENS: &str = "tokenizer.json: added_tokens";

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
    dropout: Option<f32>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Joined(String),
}

pub(super) fn read(json: &[u8]) -> Result<Vocabulary, TokenizerError> {
    let (bytes, limit) = (json.len() as u64, limits::TOKENIZER_JSON_BYTES_MAX);
    if bytes > limit {
        let reason = format!("has {bytes} bytes, with a limit of {limit}");
        return Err(TokenizerError::Invalid { field: "tokenizer.json", reason });
    }
    let file: File = serde_json::from_slice(json).map_err(|error| TokenizerError::Invalid {
        field: "tokenizer.json",
        reason: error.to_string(),
    })?;
    check_model(&file.model)?;
    let pre_tokenizer = pre_tokenizer(file.pre_tokenizer.as_ref())?;
    let composes = composes(file.normalizer.as_ref())?;
    let bos_id = first_special_token(file.post_processor.as_ref());
    let ignore_merges = file.model.ignore_merges;
    Ok(Vocabulary {
        fields: FieldNames {
            tokens: "tokenizer.json: model.vocab",
            merges: "tokenizer.json: model.merges",
        },
        tokens: tokens(file.model.vocab, file.added_tokens)?,
        merges: file.model.merges.into_iter().map(pair).collect::<Result<_, _>>()?,
        pre_tokenizer,
        ignore_merges,
        composes,
        bos_id,
    })
}

fn check_model(model: &Model) -> Result<(), TokenizerError> {
    let field = "tokenizer.json: model";
    let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let unsupported = match model.kind.as_deref() {
        Some("BPE") | None if model.byte_fallback => "BPE with byte_fallback",
        Some("BPE") | None if model.dropout.is_some() => "BPE with dropout",
        Some("BPE") | None if is_set(&model.continuing_subword_prefix) => "BPE with prefixes",
        Some("BPE") | None if is_set(&model.end_of_word_suffix) => "BPE with suffixes",
        Some("BPE") | None => return Ok(()),
        Some(other) => other,
    };
    Err(TokenizerError::unsupported(field, unsupported, "BPE over bytes"))
}

/// Recognizes the descriptions that the supported families ship.
fn pre_tokenizer(description: Option<&Value>) -> Result<PreTokenizer, TokenizerError> {
    let description = description.unwrap_or(&Value::Null);
    let steps = description["pretokenizers"].as_array().map_or(&[][..], Vec::as_slice);
    let found = match steps {
        [cut, bytes] if bytes["type"] == "ByteLevel" && bytes["add_prefix_space"] != true => {
            let by_regex = bytes["use_regex"] != false;
            if cut["type"] == "Digits" && cut["individual_digits"] == true && by_regex {
                Some(PreTokenizer::SmolLm)
            } else if cut["type"] == "Split"
                && cut["behavior"] == "Isolated"
                && cut["invert"] != true
                && !by_regex
            {
                match cut["pattern"]["Regex"].as_str() {
                    Some(QWEN2_PATTERN) => Some(PreTokenizer::Qwen2),
                    Some(LLAMA3_PATTERN) => Some(PreTokenizer::Llama3),
                    _ => None,
                }
            } else {
                None
            }
        }
        _ => None,
    };
    found.ok_or_else(|| {
        let supported = "those of the Qwen2, Llama 3 and SmolLM families";
        let field = "tokenizer.json: pre_tokenizer";
        TokenizerError::unsupported(field, &abridged(description), supported)
    })
}

fn composes(description: Option<&Value>) -> Result<bool, TokenizerError> {
    let Some(description) = description else { return Ok(false) };
    let nfc = json!({"type": "NFC"});
    let steps = match description["type"].as_str() {
        Some("Sequence") => description["normalizers"].as_array().cloned().unwrap_or_default(),
        _ => vec![description.clone()],
    };
    match steps.as_slice() {
        [] | [Value::Null] => Ok(false),
        [step] if *step == nfc => Ok(true),
        _ => {
            let field = "tokenizer.json: normalizer";
            Err(TokenizerError::unsupported(field, &abridged(description), "NFC and none"))
        }
    }
}

/// The id that the post-processor writes at the beginning, as Llama 3's does.
fn first_special_token(description: Option<&Value>) -> Option<u32> {
    let description = description?;
    let template = match description["type"].as_str()? {
        "Sequence" => description["processors"]
            .as_array()?
            .iter()
            .find(|processor| processor["type"] == "TemplateProcessing")?,
        "TemplateProcessing" => description,
        _ => return None,
    };
    let name = template["single"][0]["SpecialToken"]["id"].as_str()?;
    template["special_tokens"][name]["ids"][0].as_u64()?.try_into().ok()
}

fn tokens(
    vocab: HashMap<String, u32>,
    added: Vec<AddedToken>,
) -> Result<Vec<Token>, TokenizerError> {
    let refuse = |reason| TokenizerError::Invalid { field: ADDED_TOKENS, reason };
    let mut tokens: HashMap<String, (u32, TokenKind)> =
        vocab.into_iter().map(|(text, id)| (text, (id, TokenKind::Normal))).collect();
    for token in added {
        let AddedToken { id, content, .. } = &token;
        if token.lstrip || token.rstrip || token.single_word {
            return Err(refuse(format!(
                "token {id} depends on its neighbours (lstrip, rstrip or \
                                       single_word), which is not supported"
            )));
        }
        let looks_special = [("<|", "|>"), ("<｜", "｜>")]
            .iter()
            .any(|(begin, end)| content.starts_with(begin) && content.ends_with(end));
        let kind =
            if token.special || looks_special { TokenKind::Control } else { TokenKind::Added };
        if let Some((other, _)) = tokens.insert(token.content, (token.id, kind))
            && other != token.id
        {
            return Err(refuse(format!("token {} has the id {other} in the vocabulary", token.id)));
        }
    }
    Ok(tokens.into_iter().map(|(text, (id, kind))| Token { id, text, kind }).collect())
}

fn pair(merge: Merge) -> Result<(String, String), TokenizerError> {
    match merge {
        Merge::Pair(left, right) => Ok((left, right)),
        Merge::Joined(joined) => match joined.split_once(' ') {
            Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
            None => Err(TokenizerError::Invalid {
                field: "tokenizer.json: model.merges",
                reason: "a merge is not two tokens with a space between".to_owned(),
            }),
        },
    }
}

/// Enough of a description to recognize it in an error.
fn abridged(description: &Value) -> String {
    description.to_string().chars().take(200).collect()
}
