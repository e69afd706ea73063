//! A vocabulary for tests: all bytes, a few merges, and R1's control tokens.

use std::sync::{Arc, LazyLock};

use crate::chat::tokenizer::QWEN2_PATTERN;
use crate::chat::{TextAssets, Tokenizer};
use crate::format::gguf::{Array, Metadata, Value};

pub(crate) const BOS: &str = "<｜begin▁of▁sentence｜>";
pub(crate) const EOS: &str = "<｜end▁of▁sentence｜>";
/// Control tokens, with their GGUF types, after the 256 bytes and the merged tokens.
pub(crate) const SPECIAL: [(&str, i64); 7] = [
    (BOS, 3),
    (EOS, 3),
    ("<｜User｜>", 3),
    ("<｜Assistant｜>", 3),
    ("<think>", 4),
    ("</think>", 4),
    ("<|EOT|>", 3),
];
const MERGES: [(&str, &str); 5] = [("h", "i"), ("t", "h"), ("th", "e"), ("Ġ", "the"), ("t", "hi")];
/// In the manner of the R1 distills, which open the reasoning part for the model.
pub(crate) const TEMPLATE: &str = concat!(
    "{{ bos_token }}{%- for message in messages %}",
    "{%- if message['role'] == 'system' %}{{ message['content'] }}{%- endif %}",
    "{%- if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{%- endif %}",
    "{%- if message['role'] == 'assistant' %}{% set content = message['content'] %}",
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}",
    "{{ '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}{%- endif %}{%- endfor %}",
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}",
);
pub(crate) const VOCAB_SIZE: u32 = 256 + MERGES.len() as u32 + SPECIAL.len() as u32;

/// The id of the token that stands for one byte.
pub(crate) fn byte_id(byte: u8) -> u32 {
    byte.into()
}

/// The header of a checkpoint with this vocabulary.
pub(crate) fn metadata() -> Metadata {
    let mut tokens: Vec<String> = (0..=u8::MAX).map(byte_character).collect();
    tokens.extend(MERGES.map(|(left, right)| format!("{left}{right}")));
    let mut types = vec![1; tokens.len()];
    tokens.extend(SPECIAL.map(|(text, _)| text.to_owned()));
    types.extend(SPECIAL.map(|(_, token_type)| token_type));
    let id = |token: &str| {
        let id = tokens.iter().position(|other| other == token).unwrap();
        Value::U32(id.try_into().unwrap())
    };
    let merges = MERGES.map(|(left, right)| format!("{left} {right}")).to_vec();
    [
        ("tokenizer.ggml.model", Value::String("gpt2".to_owned())),
        ("tokenizer.ggml.pre", Value::String("deepseek-r1-qwen".to_owned())),
        ("tokenizer.ggml.bos_token_id", id(BOS)),
        ("tokenizer.ggml.eos_token_id", id(EOS)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(true)),
        ("tokenizer.ggml.tokens", Value::Array(Array::Strings(tokens))),
        ("tokenizer.ggml.token_type", Value::Array(Array::Integers(types))),
        ("tokenizer.ggml.merges", Value::Array(Array::Strings(merges))),
        ("tokenizer.chat_template", Value::String(TEMPLATE.to_owned())),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// The same with some keys replaced.
pub(crate) fn metadata_with<const N: usize>(changes: [(&str, Value); N]) -> Metadata {
    metadata()
        .iter()
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .chain(changes.map(|(key, value)| (key.to_owned(), value)))
        .collect()
}

/// The same without one key.
pub(crate) fn metadata_without(removed: &str) -> Metadata {
    metadata()
        .iter()
        .filter(|(key, _)| *key != removed)
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .collect()
}

pub(crate) fn tokenizer() -> Arc<Tokenizer> {
    static TOKENIZER: LazyLock<Arc<Tokenizer>> =
        LazyLock::new(|| Arc::new(Tokenizer::from_gguf(&metadata()).unwrap()));
    Arc::clone(&TOKENIZER)
}

pub(crate) fn text_assets() -> TextAssets {
    TextAssets::from_gguf(&metadata()).unwrap()
}

/// A `tokenizer.json` with the vocabulary of the fixture.
pub(crate) fn tokenizer_json() -> serde_json::Value {
    let metadata = metadata();
    let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap();
    let first_special = tokens.len() - SPECIAL.len();
    let vocab: serde_json::Map<String, serde_json::Value> = tokens[..first_special]
        .iter()
        .enumerate()
        .map(|(id, token)| (token.clone(), id.into()))
        .collect();
    let added: Vec<_> = SPECIAL
        .iter()
        .enumerate()
        .map(|(index, (content, token_type))| {
            serde_json::json!({
                "id": first_special + index, "content": content, "special": *token_type == 3,
                "lstrip": false, "rstrip": false, "single_word": false, "normalized": false,
            })
        })
        .collect();
    serde_json::json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": QWEN2_PATTERN},
             "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
             "use_regex": false},
        ]},
        "post_processor": {"type": "ByteLevel", "trim_offsets": false},
        "decoder": {"type": "ByteLevel"},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
            "vocab": vocab,
            "merges": metadata.strings("tokenizer.ggml.merges").unwrap().unwrap(),
        },
    })
}

/// GPT-2's character for a byte, written down independently of the table under test.
fn byte_character(byte: u8) -> String {
    let shifted = match byte {
        0..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x121 + u32::from(byte - 0x7f),
        0xad => 0x143,
        printable => printable.into(),
    };
    char::from_u32(shifted).unwrap().to_string()
}
