//! However tokens cut a text, what streams out is the text: no character is split, none invented.

#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use outcrop::{
    chat::{Detokenizer, Tokenizer},
    format::gguf::{Array, Metadata, Value},
};

/// All bytes, and tokens that end or begin within characters.
static TOKENIZER: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
    let shifted = |byte: u8| match byte {
        0..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x121 + u32::from(byte - 0x7f),
        0xad => 0x143,
        printable => printable.into(),
    };
    let bytes: Vec<String> =
        (0..=u8::MAX).filter_map(|byte| char::from_u32(shifted(byte))).map(String::from).collect();
    let spell =
        |spelled: &[u8]| spelled.iter().map(|&byte| bytes[usize::from(byte)].as_str()).collect();
    let mut tokens = bytes.clone();
    let longer: [&[u8]; 7] = [
        b"\xf0\x9f",
        b"\xa6\x80",
        b"\xe4\xb8\xad\xe6",
        b"\x96\x87",
        b"a\xc3",
        b"\xed\xa0",
        b"\xff\xfe",
    ];
    tokens.extend(longer.map(spell));
    let types = Value::Array(Array::Integers(vec![1; tokens.len()]));
    let mut metadata = Metadata::default();
    metadata.insert("tokenizer.ggml.model", Value::String("gpt2".to_owned()));
    metadata.insert("tokenizer.ggml.pre", Value::String("qwen2".to_owned()));
    metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::Strings(tokens)));
    metadata.insert("tokenizer.ggml.merges", Value::Array(Array::Strings(Vec::new())));
    metadata.insert("tokenizer.ggml.token_type", types);
    Arc::new(Tokenizer::from_gguf(&metadata).expect("a vocabulary"))
});

fuzz_target!(|input: &[u8]| {
    let num_tokens = TOKENIZER.vocab_size() as u32;
    // Bytes stand for themselves; every seventh token is one of the longer ones or unknown.
    let ids = input.iter().enumerate().map(|(index, &byte)| match index % 7 {
        6 => 256 + u32::from(byte) % (num_tokens - 255),
        _ => byte.into(),
    });
    let mut detokenizer = Detokenizer::new(Arc::clone(&TOKENIZER));
    let (mut bytes, mut text) = (Vec::new(), String::new());
    for id in ids {
        bytes.extend_from_slice(TOKENIZER.token_bytes(id));
        text.push_str(&detokenizer.push(id));
    }
    text.push_str(&detokenizer.finish());
    assert_eq!(text, String::from_utf8_lossy(&bytes));
});
