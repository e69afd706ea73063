//! The chat layer against Jinja2 and Hugging Face tokenizers; see `tests/golden/chat`.

use std::{collections::BTreeMap, env, fs, fs::File, io::Read, path::PathBuf};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::chat::{
    ChatTemplate, Message, Role, TemplateError, TemplateInput, Tokenizer, ToolCall, ToolSpec,
    fixture,
};
use crate::format::gguf::GgufHeader;

#[derive(Deserialize)]
struct Conversation {
    messages: Vec<Turn>,
    add_generation_prompt: bool,
}

#[derive(Deserialize)]
struct Turn {
    role: String,
    content: String,
}

#[derive(Deserialize)]
struct ToolConversation {
    messages: Vec<Value>,
    tools: Vec<Value>,
    add_generation_prompt: bool,
}

#[derive(Deserialize)]
struct TokenSample {
    texts: Vec<String>,
    ids_sha256: Vec<String>,
}

fn golden(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/golden/chat", name].iter().collect()
}

fn json<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&fs::read(golden(name)).unwrap()).unwrap()
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn templates_render_as_jinja2_renders_them() {
    let conversations: Vec<Conversation> = json("conversations.json");
    let rendered: BTreeMap<String, Vec<String>> = json("rendered.json");
    assert!(rendered.len() * conversations.len() >= 200);
    let tokenizer = fixture::tokenizer();
    for (name, expected) in rendered {
        let source = fs::read_to_string(golden(&format!("templates/{name}.jinja"))).unwrap();
        let [bos, eos] = [fixture::BOS, fixture::EOS].map(|token| Some(token.to_owned()));
        let template = ChatTemplate::new(&source, &tokenizer, bos, eos).unwrap();
        assert_eq!(expected.len(), conversations.len());
        for (index, (conversation, expected)) in conversations.iter().zip(expected).enumerate() {
            let messages: Vec<Message> = conversation.messages.iter().map(message).collect();
            let add_generation_prompt = conversation.add_generation_prompt;
            let found = match template.render(&TemplateInput {
                messages: &messages,
                tools: &[],
                add_generation_prompt,
            }) {
                Ok(prompt) => sha256(&prompt.text()),
                Err(TemplateError::Refused(_)) => "refused".to_owned(),
                Err(error) => panic!("{name}, conversation {index}: {error}"),
            };
            assert_eq!(found, expected, "{name}, conversation {index}");
        }
    }
}

#[test]
fn templates_are_handed_tools_as_jinja2_hands_them_over() {
    let conversations: Vec<ToolConversation> = json("tool_conversations.json");
    let rendered: BTreeMap<String, Vec<String>> = json("tool_rendered.json");
    let tokenizer = fixture::tokenizer();
    for (name, expected) in rendered {
        let source = fs::read_to_string(golden(&format!("templates/{name}.jinja"))).unwrap();
        let [bos, eos] = [fixture::BOS, fixture::EOS].map(|token| Some(token.to_owned()));
        let template = ChatTemplate::new(&source, &tokenizer, bos, eos).unwrap();
        for (index, (conversation, expected)) in conversations.iter().zip(&expected).enumerate() {
            let messages: Vec<Message> = conversation.messages.iter().map(tool_message).collect();
            let tools: Vec<ToolSpec> = conversation.tools.iter().map(tool_spec).collect();
            let add_generation_prompt = conversation.add_generation_prompt;
            let input = TemplateInput { messages: &messages, tools: &tools, add_generation_prompt };
            let prompt = template.render(&input).unwrap();
            assert_eq!(&sha256(&prompt.text()), expected, "{name}, conversation {index}");
            // The template itself opens reasoning parts.
            if source.contains("<think>") {
                continue;
            }
            // No text of the client's, wherever it stands, has become a control token.
            let ids = tokenizer.encode_prompt(&prompt).unwrap();
            let control = |id: &u32| tokenizer.token_bytes(*id).is_empty();
            let tags = ["<think>", "</think>"].map(|tag| tokenizer.special_id(tag));
            let made = ids.iter().skip(1).find(|id| control(id) || tags.contains(&Some(**id)));
            assert_eq!(made, None, "{name}, conversation {index}");
        }
    }
}

/// R1's template is handed calls and results as texts, which are those that it would have written.
#[test]
fn calls_and_results_are_written_as_r1s_template_writes_them() {
    let conversations: Vec<Value> = json("deepseek_tool_conversations.json");
    let rendered: Vec<String> = json("deepseek_tool_rendered.json");
    let source = fs::read_to_string(golden("templates/deepseek-r1-distill.jinja")).unwrap();
    let [bos, eos] = [fixture::BOS, fixture::EOS].map(|token| Some(token.to_owned()));
    let template = ChatTemplate::new(&source, &fixture::tokenizer(), bos, eos).unwrap();
    assert_eq!(conversations.len(), rendered.len());
    for (index, (conversation, expected)) in conversations.iter().zip(&rendered).enumerate() {
        let messages = conversation["messages"].as_array().unwrap();
        let messages: Vec<Message> = messages.iter().map(tool_message).collect();
        let input = TemplateInput { messages: &messages, tools: &[], add_generation_prompt: true };
        let prompt = template.render(&input).unwrap();
        assert_eq!(&sha256(&prompt.text()), expected, "conversation {index}");
    }
}

/// Arguments are JSON, or a text of it.
fn tool_message(value: &Value) -> Message {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let role = match value["role"].as_str().unwrap() {
        "tool" => Role::Tool,
        role => message(&Turn { role: role.to_owned(), content: String::new() }).role,
    };
    let mut message = Message::new(role, text(&value["content"]));
    message.tool_call_id = value.get("tool_call_id").map(text);
    for call in value["tool_calls"].as_array().into_iter().flatten() {
        let (name, arguments) = (text(&call["function"]["name"]), &call["function"]["arguments"]);
        let arguments = arguments.as_str().map_or_else(|| arguments.to_string(), str::to_owned);
        let call = ToolCall { id: text(&call["id"]), name, arguments };
        message.tool_calls.push(call);
    }
    message
}

fn tool_spec(value: &Value) -> ToolSpec {
    let function = &value["function"];
    ToolSpec {
        name: function["name"].as_str().unwrap().to_owned(),
        description: function["description"].as_str().map(str::to_owned),
        parameters: function["parameters"].clone(),
        strict: false,
        field: String::new(),
    }
}

fn message(turn: &Turn) -> Message {
    let role = match turn.role.as_str() {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => panic!("unknown role {other}"),
    };
    Message::new(role, turn.content.as_str())
}

#[test]
fn the_demo_model_tokenizes_as_hugging_face_tokenizers_does() {
    let directory = env::var_os("OUTCROP_TEST_MODELS").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache/outcrop-test-models")
    });
    let path = directory.join("smollm2-135m-instruct-q4_1.gguf");
    let Ok(file) = File::open(&path) else {
        return eprintln!("skipped: {} is not there", path.display());
    };
    let mut prefix = Vec::new();
    file.take(16 << 20).read_to_end(&mut prefix).unwrap();
    let header = GgufHeader::parse(&prefix, u64::MAX).unwrap();
    let tokenizer = Tokenizer::from_gguf(&header.metadata).unwrap();
    let sample: TokenSample = json("smollm2_tokens.json");
    for (text, expected) in sample.texts.iter().zip(sample.ids_sha256) {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(sha256(&serde_json::to_string(&ids).unwrap()), expected, "{text:?}: {ids:?}");
    }
}
