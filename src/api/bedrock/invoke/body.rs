//! The body of InvokeModel, in the formats that models of the DeepSeek and Llama families have on
//! Bedrock, and which of them an answer takes.
//!
//! Bedrock's documentation of Custom Model Import has the format follow from the body's fields:
//! `messages`, or `prompt` with `max_gen_len` or `max_tokens`. DeepSeek's own models know `prompt`
//! with `max_tokens` too and answer it in another format, so there the model's id decides. A prompt
//! alone belongs to no format: clients send it to several, and the answer serves all of them.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::json::{self, float, in_range, invalid, max_tokens, natural};
use crate::api::guardrail::BodyConfig;
use crate::api::models::Arn;
use crate::api::openai::{self, ChatAnswer};
use crate::limits;
use crate::pipeline::{ChatRequest, Input, ReasoningFormat, SamplingOverrides};

/// A parsed body.
pub(in crate::api::bedrock) struct InvokeBody {
    pub(in crate::api::bedrock) request: ChatRequest,
    pub(super) format: Format,
    pub(in crate::api::bedrock) guardrail_config: Option<BodyConfig>,
}

/// The format of the answer.
pub(super) enum Format {
    Prompt(PromptFormat),
    /// OpenAI's chat completion.
    Chat(ChatAnswer),
}

/// How the answer to a prompt is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PromptFormat {
    /// `choices` of `text` and `stop_reason`.
    DeepSeek,
    /// `generation`, `stop_reason` and the numbers of tokens.
    BedrockCompletion,
    /// OpenAI's text completion.
    OpenAiCompletion,
    /// What each of the others is read for.
    Superset,
}

/// A prompt as a text, in all of its spellings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptBody {
    prompt: String,
    max_tokens: Option<i64>,
    max_gen_len: Option<i64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    top_k: Option<i64>,
    min_p: Option<f64>,
    seed: Option<i64>,
    repetition_penalty: Option<f64>,
    stop: Option<Stop>,
    n: Option<i64>,
    response_format: Option<Value>,
    structured_outputs: Option<Value>,
    reasoning_budget: Option<i64>,
    /// The path says which model and the operation whether to stream: clients repeat it here.
    #[serde(rename = "model")]
    _model: Option<IgnoredAny>,
    #[serde(rename = "stream")]
    _stream: Option<IgnoredAny>,
    #[serde(rename = "amazon-bedrock-guardrailConfig")]
    guardrail_config: Option<BodyConfig>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop {
    One(String),
    Several(Vec<String>),
}

pub(in crate::api::bedrock) fn invoke_body(
    bytes: &[u8],
    model_id: &str,
) -> Result<InvokeBody, BedrockError> {
    let keys: Map<String, Value> = json::read(bytes)?;
    match (keys.contains_key("messages"), keys.contains_key("prompt")) {
        (true, false) => {
            let (request, answer, guardrail_config) = openai::embedded_chat(keys, model_id)
                .map_err(|error| BedrockError::Validation(error.to_string()))?;
            Ok(InvokeBody { request, format: Format::Chat(answer), guardrail_config })
        }
        (false, true) => prompt_body(json::read(bytes)?, model_id),
        (true, true) => Err(invalid("The body holds `prompt` and `messages`; keep one of them.")),
        (false, false) => Err(invalid("The body must hold `prompt` or `messages`.")),
    }
}

fn prompt_body(body: PromptBody, model_id: &str) -> Result<InvokeBody, BedrockError> {
    let format = prompt_format(&body, model_id)?;
    if let Some(n) = body.n {
        in_range("n", n, &(1..=1))?;
    }
    if body.prompt.is_empty() {
        return Err(invalid("The value at `prompt` is empty."));
    }
    let (output_format, output_field) =
        openai::embedded_output_format(body.response_format, body.structured_outputs)
            .map_err(|error| BedrockError::Validation(error.to_string()))?;
    let max_tokens = match body.max_gen_len {
        Some(_) => max_tokens("max_gen_len", body.max_gen_len)?,
        None => max_tokens("max_tokens", body.max_tokens)?,
    };
    let request = ChatRequest {
        output_format,
        output_field,
        max_tokens,
        sampling: SamplingOverrides {
            temperature: float("temperature", body.temperature, &(0.0..=limits::TEMPERATURE_MAX))?,
            top_p: float("top_p", body.top_p, &(0.0..=1.0))?,
            top_k: natural("top_k", body.top_k)?,
            min_p: float("min_p", body.min_p, &(0.0..=1.0))?,
            repetition_penalty: float(
                "repetition_penalty",
                body.repetition_penalty,
                &limits::repetition_penalties(),
            )?,
            seed: natural("seed", body.seed)?.map(|it| it as u64),
        },
        stop_sequences: match body.stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Several(stops)) => stops,
        },
        reasoning_budget: natural("reasoning_budget", body.reasoning_budget)?,
        // A prompt has its tags within it, and so has the answer.
        reasoning: ReasoningFormat::Inline,
        ..ChatRequest::new(Input::Text(body.prompt))
    };
    let format = Format::Prompt(format);
    Ok(InvokeBody { request, format, guardrail_config: body.guardrail_config })
}

fn prompt_format(body: &PromptBody, model_id: &str) -> Result<PromptFormat, BedrockError> {
    let is_imported = Arn::parse(model_id).is_some_and(|arn| arn.kind == "imported-model");
    match (body.max_gen_len, body.max_tokens) {
        (Some(_), Some(_)) => {
            Err(invalid("The body holds `max_gen_len` and `max_tokens`; keep one of them."))
        }
        (Some(_), None) => Ok(PromptFormat::BedrockCompletion),
        (None, Some(_)) if is_imported => Ok(PromptFormat::OpenAiCompletion),
        (None, Some(_)) => Ok(PromptFormat::DeepSeek),
        (None, None) => Ok(PromptFormat::Superset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMPORTED: &str = "arn:aws-cn:bedrock:cn-north-1:123456789012:imported-model/abcdefghijkl";

    fn format(body: &str, model_id: &str) -> PromptFormat {
        match invoke_body(body.as_bytes(), model_id).map(|body| body.format) {
            Ok(Format::Prompt(format)) => format,
            Ok(Format::Chat(_)) => panic!("{body} is a chat"),
            Err(error) => panic!("{body}: {error}"),
        }
    }

    #[test]
    fn the_fields_and_the_id_decide_the_format() {
        let deepseek = r#"{"prompt":"p","max_tokens":5,"stop":["x"],"temperature":0.6}"#;
        assert_eq!(format(deepseek, "us.deepseek.r1-v1:0"), PromptFormat::DeepSeek);
        assert_eq!(format(deepseek, IMPORTED), PromptFormat::OpenAiCompletion);
        let llama = r#"{"prompt":"p","max_gen_len":5}"#;
        assert_eq!(format(llama, "x"), PromptFormat::BedrockCompletion);
        assert_eq!(format(llama, IMPORTED), PromptFormat::BedrockCompletion);
        assert_eq!(format(r#"{"prompt":"p"}"#, IMPORTED), PromptFormat::Superset);
        assert_eq!(format(r#"{"prompt":"p","stop":"x","model":"m"}"#, "x"), PromptFormat::Superset);
        let chat = br#"{"messages":[{"role":"user","content":"q"}],"max_tokens":5}"#;
        let chat = invoke_body(chat, IMPORTED).unwrap();
        assert!(matches!(chat.format, Format::Chat(_)));
        assert_eq!(chat.request.max_tokens, Some(5));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (body, named) in [
            ("{", "not valid"),
            ("[]", "not valid"),
            ("{}", "`prompt` or `messages`"),
            (r#"{"prompt":"p","messages":[]}"#, "keep one of them"),
            (r#"{"prompt":""}"#, "`prompt`"),
            (r#"{"prompt":["p"]}"#, "`prompt`"),
            (r#"{"prompt":"p","max_tokens":1,"max_gen_len":1}"#, "keep one of them"),
            (r#"{"prompt":"p","max_tokens":0}"#, "`max_tokens`"),
            (r#"{"prompt":"p","max_gen_len":-1}"#, "`max_gen_len`"),
            (r#"{"prompt":"p","temperature":2.1}"#, "`temperature`"),
            (r#"{"prompt":"p","top_p":1.1}"#, "`top_p`"),
            (r#"{"prompt":"p","n":2}"#, "`n`"),
            (r#"{"prompt":"p","images":[]}"#, "images"),
            (r#"{"prompt":"p","response_format":{"type":"poem"}}"#, "response_format"),
            (r#"{"prompt":"p","amazon-bedrock-guardrailConfig":{"x":1}}"#, "guardrailConfig.x"),
            (r#"{"messages":[{"role":"user","content":"q"}],"poem":1}"#, "poem"),
            (r#"{"messages":[{"role":"user","content":"q"}],"n":2}"#, "`n`"),
        ] {
            let Err(error) = invoke_body(body.as_bytes(), "x") else { panic!("{body} was taken") };
            let message = error.to_string();
            assert!(message.contains(named), "`{message}` does not name `{named}`");
        }
    }
}
