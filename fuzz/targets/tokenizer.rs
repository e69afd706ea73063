//! Any metadata is a tokenizer or an error, and a tokenizer encodes any text without control
//! tokens.
//!
//! The input makes changes to the header of a small vocabulary, so that most of it gets past the
//! first checks; what follows them is text.

#![no_main]

use std::str;

use libfuzzer_sys::fuzz_target;
use outcrop::{
    chat::{TextAssets, Tokenizer},
    format::gguf::{Array, Metadata, Value},
};

const NUM_CHANGES_MAX: u8 = 8;

/// Reads the input from its beginning; what is left is text.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn text(&mut self) -> String {
        let length = usize::from(self.byte()).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }
}

struct Parts {
    tokens: Vec<String>,
    types: Vec<i64>,
    merges: Vec<String>,
    pre: &'static str,
    template: Option<String>,
    ids: Vec<(&'static str, u64)>,
}

impl Parts {
    /// All bytes, some merges and three control tokens.
    fn new() -> Self {
        let shifted = |byte: u8| match byte {
            0..=0x20 => 0x100 + u32::from(byte),
            0x7f..=0xa0 => 0x121 + u32::from(byte - 0x7f),
            0xad => 0x143,
            printable => printable.into(),
        };
        let bytes = (0..=u8::MAX).filter_map(|byte| char::from_u32(shifted(byte)));
        let mut tokens: Vec<String> = bytes.map(String::from).collect();
        tokens.extend(
            ["th", "the", "aa", "aaaa", "<|user|>", "<think>", "</think>"].map(String::from),
        );
        let mut types = vec![1; tokens.len()];
        types[260..].copy_from_slice(&[3, 4, 4]);
        let merges = ["t h", "th e", "a a", "aa aa"].map(String::from).to_vec();
        Self { tokens, types, merges, pre: "qwen2", template: None, ids: Vec::new() }
    }

    fn change(&mut self, input: &mut Input<'_>) {
        let index = usize::from(input.byte()) + 256 * usize::from(input.byte() % 2);
        match input.byte() % 9 {
            0 => self.tokens.push(input.text()),
            1 => self.types.push(i64::from(input.byte())),
            2 => self.merges.push(input.text()),
            3 => {
                self.tokens.push(input.text());
                self.types.push(i64::from(input.byte() % 6));
            }
            4 => {
                if let Some(token) = self.tokens.get_mut(index) {
                    *token = input.text();
                }
            }
            5 => {
                if let Some(token_type) = self.types.get_mut(index) {
                    *token_type = i64::from(input.byte() % 6);
                }
            }
            6 => {
                self.pre = match input.byte() % 4 {
                    0 => "qwen2",
                    1 => "deepseek-r1-qwen",
                    2 => "llama-bpe",
                    _ => "smollm",
                };
            }
            7 => self.template = Some(input.text()),
            _ => {
                let keys = ["tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"];
                self.ids.push((keys[index % 2], u64::from(input.byte()) * 3));
            }
        }
    }

    fn metadata(self) -> Metadata {
        let mut metadata = Metadata::default();
        let strings = |texts| Value::Array(Array::Strings(texts));
        metadata.insert("tokenizer.ggml.model", Value::String("gpt2".to_owned()));
        metadata.insert("tokenizer.ggml.pre", Value::String(self.pre.to_owned()));
        metadata.insert("tokenizer.ggml.tokens", strings(self.tokens));
        metadata.insert("tokenizer.ggml.merges", strings(self.merges));
        metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::Integers(self.types)));
        metadata.insert("tokenizer.ggml.add_bos_token", Value::Bool(true));
        if let Some(template) = self.template {
            metadata.insert("tokenizer.chat_template", Value::String(template));
        }
        for (key, id) in self.ids {
            metadata.insert(key, Value::U64(id));
        }
        metadata
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let mut parts = Parts::new();
    for _ in 0..input.byte() % NUM_CHANGES_MAX {
        parts.change(&mut input);
    }
    let types = parts.types.clone();
    let metadata = parts.metadata();
    // The template is made and not run: the time of a run is bounded by its fuel, not by the input.
    let _ = TextAssets::from_gguf(&metadata);
    let Ok(tokenizer) = Tokenizer::from_gguf(&metadata) else { return };
    let Ok(text) = str::from_utf8(input.0) else { return };
    let ids = tokenizer.encode(text).expect("text of this length");
    for id in ids {
        assert_eq!(types[id as usize], 1, "content made a token that is not normal");
    }
});
