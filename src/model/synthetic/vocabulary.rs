//! A byte-level BPE vocabulary of any size, for checkpoints that nobody trained.
//!
//! The 256 bytes come first, so that every text has tokens; then pairs, triples and so on of
//! lower-case letters, each with the merge that makes it, so that text becomes tokens of the length
//! that real vocabularies give; then R1's control tokens.

use crate::format::gguf::{Array, Metadata, Value};

use super::SyntheticError;

const CONTROL_TOKENS: [(&str, i64); 6] = [
    ("<｜end▁of▁sentence｜>", CONTROL),
    ("<｜User｜>", CONTROL),
    ("<｜Assistant｜>", CONTROL),
    ("<｜begin▁of▁sentence｜>", CONTROL),
    ("<think>", USER_DEFINED),
    ("</think>", USER_DEFINED),
];

/// `enum llama_token_type`.
const NORMAL: i64 = 1;
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

const NUM_BYTES: usize = 256;

/// The fewest tokens that a vocabulary can have.
pub(super) const VOCAB_SIZE_MIN: usize = NUM_BYTES + CONTROL_TOKENS.len();

const CHAT_TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}\
    {% if message['role'] == 'system' %}{{ message['content'] }}\
    {% elif message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}\
    {% else %}{{ '<｜Assistant｜>' + message['content'] + '<｜end▁of▁sentence｜>' }}\
    {% endif %}{% endfor %}\
    {% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}";

/// Adds the `tokenizer.*` entries of a vocabulary of exactly `vocab_size` tokens.
pub(super) fn insert(metadata: &mut Metadata, vocab_size: usize) -> Result<(), SyntheticError> {
    let Some(num_merges) = vocab_size.checked_sub(VOCAB_SIZE_MIN) else {
        return Err(SyntheticError::VocabularyTooSmall { found: vocab_size, min: VOCAB_SIZE_MIN });
    };
    let mut tokens: Vec<String> = (0..=255).map(|byte| byte_letter(byte).to_string()).collect();
    let merges = grow(&mut tokens, num_merges);
    let mut types = vec![NORMAL; tokens.len()];
    let first_control = tokens.len() as u32;
    for (token, kind) in CONTROL_TOKENS {
        tokens.push(token.to_owned());
        types.push(kind);
    }
    let text = |text: &str| Value::String(text.to_owned());
    let entries = [
        ("model", text("gpt2")),
        ("pre", text("qwen2")),
        ("tokens", Value::Array(Array::Strings(tokens))),
        ("token_type", Value::Array(Array::Integers(types))),
        ("merges", Value::Array(Array::Strings(merges))),
        ("bos_token_id", Value::U32(first_control + 3)),
        ("eos_token_id", Value::U32(first_control)),
        ("padding_token_id", Value::U32(first_control)),
        ("add_bos_token", Value::Bool(true)),
    ];
    for (key, value) in entries {
        metadata.insert(&format!("tokenizer.ggml.{key}"), value);
    }
    metadata.insert("tokenizer.chat_template", text(CHAT_TEMPLATE));
    Ok(())
}

/// Appends `count` tokens: each token that ends in a letter or is a space, in turn, with each
/// letter.
fn grow(tokens: &mut Vec<String>, count: usize) -> Vec<String> {
    let mut merges = Vec::with_capacity(count);
    let mut bases: Vec<String> = vec![byte_letter(b' ').to_string()];
    bases.extend(('a'..='z').map(String::from));
    let mut next = 0;
    while merges.len() < count {
        let base = bases[next].clone();
        next += 1;
        for letter in 'a'..='z' {
            if merges.len() == count {
                break;
            }
            let token = format!("{base}{letter}");
            merges.push(format!("{base} {letter}"));
            tokens.push(token.clone());
            bases.push(token);
        }
    }
    merges
}

/// GPT-2's letter for a byte: printable bytes stand for themselves, the others for the characters
/// from U+0100 in order.
fn byte_letter(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return byte.into();
    }
    let position = (0..byte).filter(|&other| !printable(other)).count() as u32;
    char::from_u32(0x100 + position).expect("all of the first 68 characters from U+0100 exist")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_token_is_there_once_and_has_its_merge() {
        let mut metadata = Metadata::default();
        insert(&mut metadata, 20_000).unwrap();
        let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap();
        let merges = metadata.strings("tokenizer.ggml.merges").unwrap().unwrap();
        let distinct: HashSet<&String> = tokens.iter().collect();
        assert_eq!((tokens.len(), distinct.len()), (20_000, 20_000));
        let mut known: HashSet<String> = tokens[..NUM_BYTES].iter().cloned().collect();
        for (merge, token) in merges.iter().zip(&tokens[NUM_BYTES..]) {
            let (left, right) = merge.split_once(' ').unwrap();
            assert!(known.contains(left) && known.contains(right));
            assert_eq!(&format!("{left}{right}"), token);
            known.insert(token.clone());
        }
        let eos = metadata.unsigned("tokenizer.ggml.eos_token_id").unwrap().unwrap();
        assert_eq!(tokens[eos as usize], "<｜end▁of▁sentence｜>");
    }

    #[test]
    fn the_smallest_vocabulary_is_bytes_and_control_tokens() {
        assert!(insert(&mut Metadata::default(), VOCAB_SIZE_MIN).is_ok());
        let error = insert(&mut Metadata::default(), VOCAB_SIZE_MIN - 1);
        assert!(matches!(error, Err(SyntheticError::VocabularyTooSmall { .. })));
    }

    #[test]
    fn bytes_have_the_letters_that_gpt2_gave_them() {
        assert_eq!(
            [b' ', b'\n', b'a', 0, 0x7f, 0xad].map(byte_letter),
            ['Ġ', 'Ċ', 'a', 'Ā', 'ġ', 'Ń']
        );
    }
}
