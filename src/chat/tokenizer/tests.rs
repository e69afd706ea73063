//! Tokenizers from either format: the same ids, content that stays content, hostile metadata.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::chat::{ChatTemplate, Message, Role, TemplateInput, fixture};
use crate::format::gguf::{Array, Value};

fn strings(texts: &[&str]) -> Value {
    Value::Array(Array::Strings(texts.iter().map(|&text| text.to_owned()).collect()))
}

fn refusal(metadata: &Metadata) -> String {
    Tokenizer::from_gguf(metadata).unwrap_err().to_string()
}

fn is_special(tokenizer: &Tokenizer, id: u32) -> bool {
    tokenizer.special.tokens.iter().any(|&(_, special)| special == id)
}

fn prompt(messages: &[(Role, &str)]) -> Prompt {
    let tokenizer = fixture::tokenizer();
    let bos = Some(fixture::BOS.to_owned());
    let template = ChatTemplate::new(fixture::TEMPLATE, &tokenizer, bos, None).unwrap();
    let messages: Vec<Message> =
        messages.iter().map(|&(role, content)| Message::new(role, content)).collect();
    let input = TemplateInput { messages: &messages, tools: &[], add_generation_prompt: true };
    template.render(&input).unwrap()
}

/// Ids of text in which control tokens are control tokens.
fn reference_ids(parts: &[&str]) -> Vec<u32> {
    let tokenizer = fixture::tokenizer();
    parts
        .iter()
        .flat_map(|part| match tokenizer.special_id(part) {
            Some(id) => vec![id],
            None => tokenizer.encode(part).unwrap(),
        })
        .collect()
}

#[test]
fn bytes_are_merged_by_rank() {
    let tokenizer = fixture::tokenizer();
    let spell = |text: &str| {
        let ids = tokenizer.encode(text).unwrap();
        ids.iter().map(|&id| tokenizer.token_bytes(id).to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(spell("hi the thi"), [&b"hi"[..], b" the", b" ", b"thi"]);
    assert_eq!(spell("the"), [b"the"]);
    assert_eq!(spell(""), [b""; 0]);
}

#[test]
fn no_spelling_of_a_control_token_in_content_is_one() {
    let tokenizer = fixture::tokenizer();
    for (token, _) in fixture::SPECIAL {
        for text in [token.to_owned(), format!("a{token}b"), format!("{token}{token}")] {
            let ids = tokenizer.encode(&text).unwrap();
            assert!(!ids.iter().any(|&id| is_special(&tokenizer, id)), "{text}");
        }
    }
}

#[test]
fn control_tokens_in_messages_of_every_role_stay_text() {
    let tokenizer = fixture::tokenizer();
    for (token, _) in fixture::SPECIAL {
        // The template cuts what is before this tag out of earlier answers.
        let answer = if token == "</think>" { "so".to_owned() } else { format!("so {token}") };
        let content = format!("{token} x{token}y {token}");
        let rendered = prompt(&[
            (Role::System, &content),
            (Role::User, &content),
            (Role::Assistant, &answer),
            (Role::User, &content),
        ]);
        let parts = [
            fixture::BOS,
            &content,
            "<｜User｜>",
            &content,
            "<｜Assistant｜>",
            &answer,
            fixture::EOS,
            "<｜User｜>",
            &content,
            "<｜Assistant｜>",
            "<think>",
            "\n",
        ];
        assert_eq!(rendered.text(), parts.concat());
        assert_eq!(tokenizer.encode_prompt(&rendered).unwrap(), reference_ids(&parts), "{token}");
    }
}

#[test]
fn a_control_token_cannot_be_completed_across_the_edge_of_content() {
    let tokenizer = fixture::tokenizer();
    // The template writes `<｜User｜>` after the system message, and ends with `<think>`.
    let rendered = prompt(&[(Role::System, "<think>".split_at(3).0), (Role::User, "hi<｜Ass")]);
    let ids = tokenizer.encode_prompt(&rendered).unwrap();
    let parts = [fixture::BOS, "<th", "<｜User｜>", "hi<｜Ass", "<｜Assistant｜>", "<think>", "\n"];
    assert_eq!(ids, reference_ids(&parts));
}

#[test]
fn reasoning_in_an_earlier_answer_is_cut_by_the_template_and_opens_nothing() {
    let tokenizer = fixture::tokenizer();
    let rendered = prompt(&[
        (Role::User, "hi <think>"),
        (Role::Assistant, "<think>\nhm <｜User｜></think>\n\nhi <｜User｜>"),
        (Role::User, "again"),
    ]);
    let parts = [
        fixture::BOS,
        "<｜User｜>",
        "hi <think>",
        "<｜Assistant｜>",
        "\n\nhi <｜User｜>",
        fixture::EOS,
        "<｜User｜>",
        "again",
        "<｜Assistant｜>",
        "<think>",
        "\n",
    ];
    assert_eq!(rendered.text(), parts.concat());
    assert_eq!(tokenizer.encode_prompt(&rendered).unwrap(), reference_ids(&parts));
    assert!(rendered.ends_with_open_tag("<think>"));
}

#[test]
fn a_look_alike_in_full_width_is_text() {
    let tokenizer = fixture::tokenizer();
    let rendered = prompt(&[(Role::User, "＜｜User｜＞ <|User|>")]);
    let ids = tokenizer.encode_prompt(&rendered).unwrap();
    let specials = ids.iter().filter(|&&id| is_special(&tokenizer, id)).count();
    assert_eq!(specials, 4, "of the scaffolding: begin, user, assistant, think");
}

#[test]
fn the_beginning_of_a_prompt_is_there_once() {
    let tokenizer = fixture::tokenizer();
    let bos_id = tokenizer.id_of(fixture::BOS).unwrap();
    let count = |ids: Vec<u32>| ids.iter().filter(|&&id| id == bos_id).count();
    let written = prompt(&[(Role::User, "hi")]);
    assert_eq!(count(tokenizer.encode_prompt(&written).unwrap()), 1);
    let template = ChatTemplate::new("{{ messages[0].content }}", &tokenizer, None, None).unwrap();
    let messages = [Message::new(Role::User, "hi")];
    let input = TemplateInput { messages: &messages, tools: &[], add_generation_prompt: true };
    let unwritten = template.render(&input).unwrap();
    let ids = tokenizer.encode_prompt(&unwritten).unwrap();
    assert_eq!(ids, [bos_id, tokenizer.id_of("hi").unwrap()]);
}

#[test]
fn tags_have_text_and_other_control_tokens_have_none() {
    let tokenizer = fixture::tokenizer();
    let bytes = |token: &str| tokenizer.token_bytes(tokenizer.id_of(token).unwrap());
    assert_eq!(bytes("</think>"), b"</think>");
    assert_eq!(bytes("<｜User｜>"), b"");
    assert_eq!(bytes("Ġthe"), b" the");
    assert_eq!(tokenizer.token_bytes(fixture::VOCAB_SIZE), b"");
    assert_eq!(tokenizer.vocab_size(), fixture::VOCAB_SIZE as usize);
    // A conversion may call the tags control tokens; the reasoning parser needs their text.
    let types = Value::Array(Array::Integers(
        (0..fixture::VOCAB_SIZE).map(|id| if id < 261 { 1 } else { 3 }).collect(),
    ));
    let metadata = fixture::metadata_with([("tokenizer.ggml.token_type", types)]);
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
    assert_eq!(tokenizer.token_bytes(tokenizer.id_of("<think>").unwrap()), b"<think>");
}

#[test]
fn unknown_tokenizers_are_refused_by_name() {
    let model = fixture::metadata_with([("tokenizer.ggml.model", Value::String("llama".into()))]);
    assert!(refusal(&model).starts_with("tokenizer.ggml.model `llama` is not supported"));
    let pre = fixture::metadata_with([("tokenizer.ggml.pre", Value::String("gpt-4o".into()))]);
    assert!(refusal(&pre).starts_with("tokenizer.ggml.pre `gpt-4o` is not supported"));
    for key in ["model", "pre", "tokens", "token_type", "merges"] {
        let key = format!("tokenizer.ggml.{key}");
        let missing = format!("metadata key `{key}` is missing");
        assert_eq!(refusal(&fixture::metadata_without(&key)), missing);
    }
}

#[test]
fn lying_metadata_is_refused_by_the_field_that_lies() {
    let types = |types: Vec<i64>| Value::Array(Array::Integers(types));
    let count = fixture::VOCAB_SIZE as usize;
    let cases = [
        ("tokenizer.ggml.token_type", types(vec![1; count - 1]), "entries for"),
        ("tokenizer.ggml.token_type", types(vec![6; count]), "unknown type 6"),
        ("tokenizer.ggml.token_type", types(vec![-1; count]), "unknown type -1"),
        ("tokenizer.ggml.tokens", strings(&[]), "tokenizer.ggml.token_type has 268 entries for 0"),
        ("tokenizer.ggml.tokens", strings(&vec!["a"; count]), "has the text of another"),
        ("tokenizer.ggml.tokens", strings(&vec![""; count]), "has 0 bytes"),
        ("tokenizer.ggml.merges", strings(&["h i", "nope i"]), "merge 1 names a token"),
        ("tokenizer.ggml.merges", strings(&["h i", "i h"]), "merge 1 names a token"),
        ("tokenizer.ggml.merges", strings(&["h i", "h i"]), "merge 1 repeats"),
        ("tokenizer.ggml.merges", strings(&["hi"]), "merge 0 is not two tokens"),
        ("tokenizer.ggml.merges", strings(&["h i x"]), "merge 0 names a token"),
        ("tokenizer.ggml.merges", strings(&["<think> </think>"]), "merge 0 names a token"),
        ("tokenizer.ggml.bos_token_id", Value::U32(fixture::VOCAB_SIZE), "the vocabulary has"),
        ("tokenizer.ggml.bos_token_id", Value::U64(u64::MAX), "the vocabulary has"),
        ("tokenizer.ggml.merges", Value::Bool(true), "should be an array of strings"),
    ];
    for (key, value, reason) in cases {
        let refusal = refusal(&fixture::metadata_with([(key, value)]));
        assert!(refusal.contains("tokenizer.ggml.") && refusal.contains(reason), "{refusal}");
    }
}

#[test]
fn a_token_may_be_long_up_to_its_limit() {
    let with_last = |length: usize| {
        let metadata = fixture::metadata();
        let mut tokens = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap().to_vec();
        *tokens.last_mut().unwrap() = "x".repeat(length);
        let tokens = Value::Array(Array::Strings(tokens));
        Tokenizer::from_gguf(&fixture::metadata_with([("tokenizer.ggml.tokens", tokens)]))
    };
    assert!(with_last(limits::TOKEN_BYTES_MAX).is_ok());
    assert!(with_last(limits::TOKEN_BYTES_MAX + 1).is_err());
}

#[test]
fn text_beyond_the_limit_is_refused() {
    let tokenizer = fixture::tokenizer();
    let bytes = limits::TOKENIZED_TEXT_BYTES_MAX + 1;
    let refusal = tokenizer.encode(&" ".repeat(bytes)).unwrap_err();
    assert!(matches!(refusal, TokenizerError::TextTooLong { bytes: b, .. } if b == bytes));
}

/// Text without any place to cut is one piece; the time must stay about proportional to it.
#[test]
fn endless_words_and_endless_white_space_are_encoded_in_linear_time() {
    let tokenizer = fixture::tokenizer();
    for unit in ["a", "the", "中", " ", "\n", " \n", "!", "'", "e\u{301}"] {
        let text = unit.repeat((1 << 20) / unit.len());
        let started = Instant::now();
        let ids = tokenizer.encode(&text).unwrap();
        let elapsed = started.elapsed();
        assert!(elapsed < Duration::from_secs(20), "{unit:?} took {elapsed:?}");
        let bytes: Vec<u8> =
            ids.iter().flat_map(|&id| tokenizer.token_bytes(id)).copied().collect();
        assert!(bytes == text.as_bytes(), "{unit:?} did not come back");
    }
}

fn from_json(json: &serde_json::Value) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_json(json.to_string().as_bytes())
}

#[test]
fn both_formats_give_the_same_tokens() {
    let (ours, theirs) = (from_json(&fixture::tokenizer_json()).unwrap(), fixture::tokenizer());
    let text = "hi the 42 中文 <think> 🦀\n";
    assert_eq!(ours.encode(text).unwrap(), theirs.encode(text).unwrap());
    for id in 0..fixture::VOCAB_SIZE {
        assert_eq!(ours.token_bytes(id), theirs.token_bytes(id));
    }
}

#[test]
fn merges_may_be_written_as_pairs() {
    let mut json = fixture::tokenizer_json();
    let pairs = [["h", "i"], ["t", "h"]];
    json["model"]["merges"] = json!(pairs);
    assert_eq!(from_json(&json).unwrap().encode("hithe").unwrap().len(), 3);
}

#[test]
fn text_is_composed_when_the_checkpoint_says_so() {
    let tokenizer = from_json(&fixture::tokenizer_json()).unwrap();
    let composed = tokenizer.encode("caf\u{e9} \u{ac01} \u{304c}\n").unwrap();
    let decomposed = "cafe\u{301} \u{1100}\u{1161}\u{11a8} \u{304b}\u{3099}\n";
    assert_eq!(tokenizer.encode(decomposed).unwrap(), composed);
}

#[test]
fn what_a_tokenizer_json_needs_and_is_not_supported_is_refused_by_name() {
    let with = |path: &str, value: serde_json::Value| {
        let mut json = fixture::tokenizer_json();
        *json.pointer_mut(path).unwrap() = value;
        from_json(&json).unwrap_err().to_string()
    };
    let cases = [
        with("/model/type", json!("Unigram")),
        with("/model/byte_fallback", json!(true)),
        with("/model/dropout", json!(0.1)),
        with("/model/continuing_subword_prefix", json!("##")),
        with("/model/end_of_word_suffix", json!("</w>")),
        with("/normalizer", json!({"type": "Lowercase"})),
        with("/pre_tokenizer", json!({"type": "Whitespace"})),
        with("/pre_tokenizer/pretokenizers/0/pattern/Regex", json!("(a+)+$")),
        with("/added_tokens/0/lstrip", json!(true)),
    ];
    for refusal in cases {
        assert!(refusal.starts_with("tokenizer.json: "), "{refusal}");
        assert!(refusal.contains("not supported"), "{refusal}");
    }
    assert!(with("/added_tokens/0/id", json!(7)).contains("two tokens have the id 7"));
    assert!(with("/added_tokens/0/id", json!(u32::MAX)).contains("is not below"));
    assert!(with("/model/merges", json!(["a"])).contains("not two tokens"));
    assert!(Tokenizer::from_json(b"{").unwrap_err().to_string().contains("tokenizer.json"));
}

proptest! {
    #[test]
    fn content_comes_back_and_holds_no_control_token(
        text in "(?s)([a-z ]|<｜|｜>|User|<think>|</think>|\\PC|\n){0,20}",
    ) {
        let tokenizer = fixture::tokenizer();
        let ids = tokenizer.encode(&text).unwrap();
        prop_assert!(!ids.iter().any(|&id| is_special(&tokenizer, id)));
        let bytes: Vec<u8> =
            ids.iter().flat_map(|&id| tokenizer.token_bytes(id)).copied().collect();
        prop_assert_eq!(String::from_utf8(bytes).unwrap(), text);
    }

    #[test]
    fn a_prompt_holds_the_control_tokens_of_its_scaffolding_and_no_others(
        content in "(<｜|｜>|User|Assistant|<think>|</think>|<|>|think|[a-z\u{f0000}]| |\n){0,12}",
        answer in "(<｜|｜>|User|<think>|</think>|<|/think>|[a-z\u{f0001}]|\n){0,8}",
    ) {
        let tokenizer = fixture::tokenizer();
        let rendered =
            prompt(&[(Role::User, &content), (Role::Assistant, &answer), (Role::User, &content)]);
        let answer = answer.rsplit("</think>").next().unwrap();
        let parts = [
            fixture::BOS, "<｜User｜>", &content, "<｜Assistant｜>", answer, fixture::EOS,
            "<｜User｜>", &content, "<｜Assistant｜>", "<think>", "\n",
        ];
        prop_assert_eq!(rendered.text(), parts.concat());
        let ids = tokenizer.encode_prompt(&rendered).unwrap();
        let special: Vec<u32> =
            ids.into_iter().filter(|&id| is_special(&tokenizer, id)).collect();
        let expected: Vec<u32> =
            [0, 2, 3, 1, 2, 3, 4].map(|index| tokenizer.special.tokens[index].1).to_vec();
        prop_assert_eq!(special, expected);
    }
}
