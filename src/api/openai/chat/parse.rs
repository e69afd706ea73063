//! From the body of a chat completion to [`ChatRequest`]: everything is honoured or refused by its
//! name.

use crate::api::guardrail::BodyConfig;
use crate::api::openai::chat::wire::{ChatBody, ResponseFormat, Role, Tool, WireCall, WireMessage};
use crate::api::openai::error::OpenAiError;
use crate::api::openai::fields::{self, Sampling, in_range, refuse_unless};
use crate::api::openai::tools::{self, Tools};
use crate::limits;
use crate::pipeline::{self, ChatRequest, Input, Message, OutputFormat, ToolCall};

/// A request and how its answer is to be told.
pub(super) struct ChatCall {
    pub(super) request: ChatRequest,
    pub(super) n: usize,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) include_reasoning: bool,
    pub(super) guardrail_config: Option<BodyConfig>,
    pub(super) service_tier: Option<&'static str>,
}

pub(super) fn chat_call(body: ChatBody) -> Result<ChatCall, OpenAiError> {
    refuse_unsupported(&body)?;
    let (service_tier, priority) = fields::service_tier(body.service_tier.as_deref())?;
    let tools = tools(body.tools.unwrap_or_default(), body.tool_choice)?;
    let format = body.response_format.map(response_format).transpose()?.unwrap_or_default();
    let (output_format, output_field) =
        fields::structured_outputs(body.structured_outputs, format)?;
    let sampling = Sampling {
        temperature: body.temperature,
        top_p: body.top_p,
        top_k: body.top_k,
        min_p: body.min_p,
        repetition_penalty: body.repetition_penalty,
        seed: body.seed,
    };
    let request = ChatRequest {
        tools: tools.specs,
        tool_choice: tools.choice,
        one_call: body.parallel_tool_calls == Some(false),
        output_format,
        output_field,
        max_tokens: max_tokens(body.max_completion_tokens, body.max_tokens)?,
        sampling: sampling.check()?,
        stop_sequences: fields::stop(body.stop),
        reasoning_budget: fields::reasoning_budget(
            "reasoning_effort",
            body.reasoning_effort.as_deref(),
            body.reasoning_budget,
        )?,
        priority,
        logprobs: logprobs(body.logprobs, body.top_logprobs)?,
        ..ChatRequest::new(Input::Messages(conversation(body.messages)?))
    };
    let stream = body.stream == Some(true);
    if body.stream_options.is_some() && !stream {
        let message = "`stream_options` is allowed only when `stream` is true.";
        return Err(OpenAiError::invalid("stream_options", message));
    }
    Ok(ChatCall {
        request,
        n: in_range("n", body.n.unwrap_or(1), &(1..=limits::CHOICES_MAX))?,
        stream,
        include_usage: body.stream_options.unwrap_or_default().include_usage,
        include_reasoning: body.include_reasoning != Some(false),
        guardrail_config: body.guardrail_config,
        service_tier,
    })
}

fn refuse_unsupported(body: &ChatBody) -> Result<(), OpenAiError> {
    fields::refuse_biases(body.presence_penalty, body.frequency_penalty, body.logit_bias.as_ref())?;
    fields::check_metadata(body.metadata.as_ref())?;
    let is_text = body.modalities.as_ref().is_none_or(|it| it.iter().all(|it| it == "text"));
    refuse_unless(is_text, "modalities", "models here write text only.")?;
    let is_medium = body.verbosity.as_deref().is_none_or(|it| it == "medium");
    refuse_unless(is_medium, "verbosity", "only `medium` is; ask for brevity in a message.")?;
    refuse_unless(body.audio.is_none(), "audio", "models here write text only.")?;
    refuse_unless(body.function_call.is_none(), "function_call", "use `tool_choice`.")?;
    refuse_unless(body.functions.is_none(), "functions", "use `tools`.")?;
    refuse_unless(body.moderation.is_none(), "moderation", "name a guardrail instead.")?;
    let web = "the model has no access to the web.";
    refuse_unless(body.web_search_options.is_none(), "web_search_options", web)
}

fn max_tokens(completion: Option<i64>, old: Option<i64>) -> Result<Option<usize>, OpenAiError> {
    if let (Some(completion), Some(old)) = (completion, old)
        && completion != old
    {
        let message = "`max_tokens` and `max_completion_tokens` differ; keep the latter.";
        return Err(OpenAiError::invalid("max_tokens", message));
    }
    match completion {
        Some(_) => fields::max_tokens("max_completion_tokens", completion),
        None => fields::max_tokens("max_tokens", old),
    }
}

fn logprobs(wanted: Option<bool>, top: Option<usize>) -> Result<Option<usize>, OpenAiError> {
    let top = top.map(|it| in_range("top_logprobs", it, &(0..=limits::TOP_LOGPROBS_MAX)));
    match (wanted, top.transpose()?) {
        (Some(true), top) => Ok(Some(top.unwrap_or(0))),
        (Some(false) | None, None | Some(0)) => Ok(None),
        (Some(false) | None, Some(_)) => {
            let message = "`top_logprobs` is allowed only when `logprobs` is true.";
            Err(OpenAiError::invalid("top_logprobs", message))
        }
    }
}

fn tools(wire: Vec<Tool>, choice: Option<serde_json::Value>) -> Result<Tools, OpenAiError> {
    let mut specs = Vec::new();
    for (index, tool) in wire.into_iter().enumerate() {
        let at = format!("tools[{index}]");
        if tool.r#type != "function" || tool.custom.is_some() {
            let reason = format!("`{}` is; only functions are tools here.", tool.r#type);
            return Err(OpenAiError::unsupported(format!("{at}.type"), &reason));
        }
        let at = format!("{at}.function");
        let function = tool.function.ok_or_else(|| OpenAiError::missing(&at))?;
        specs.push(tools::spec(function, &at)?);
    }
    Tools::new(specs, choice)
}

pub(super) fn response_format(format: ResponseFormat) -> Result<OutputFormat, OpenAiError> {
    let at = "response_format";
    if format.r#type == "json_schema" && format.json_schema.is_none() {
        return Err(OpenAiError::missing(format!("{at}.json_schema")));
    }
    let schema = format.json_schema.and_then(|it| it.schema);
    match format.r#type.as_str() {
        "json_schema" => {
            fields::output_format("json_schema", schema, "response_format.json_schema")
        }
        kind => fields::output_format(kind, schema, at),
    }
}

/// System and developer messages are joined at the front, wherever they stand: the templates of
/// the R1 family take only one and would lose the others.
fn conversation(wire: Vec<WireMessage>) -> Result<Vec<Message>, OpenAiError> {
    in_range("messages: length", wire.len(), &(1..=limits::MESSAGES_MAX))?;
    let mut instructions: Vec<String> = Vec::new();
    let mut messages = Vec::new();
    // Calls that no tool has answered yet.
    let mut open_calls: Vec<String> = Vec::new();
    for (index, message) in wire.into_iter().enumerate() {
        let at = format!("messages[{index}]");
        if message.role != Role::Tool && !open_calls.is_empty() {
            return Err(unanswered(&at, &open_calls));
        }
        let parsed = parse_message(message, &at)?;
        match parsed.role {
            pipeline::Role::System => {
                instructions.push(parsed.content);
                continue;
            }
            pipeline::Role::Tool => {
                let id = parsed.tool_call_id.as_deref().unwrap_or_default();
                let Some(open) = open_calls.iter().position(|open| open == id) else {
                    let message = format!(
                        "`{at}` answers the tool call `{id}`, which no message before it makes."
                    );
                    return Err(OpenAiError::invalid(format!("{at}.tool_call_id"), message));
                };
                open_calls.swap_remove(open);
            }
            pipeline::Role::User => {}
            pipeline::Role::Assistant => {
                open_calls.extend(parsed.tool_calls.iter().map(|call| call.id.clone()));
            }
        }
        messages.push(parsed);
    }
    if !open_calls.is_empty() {
        return Err(unanswered("messages", &open_calls));
    }
    if !instructions.is_empty() {
        messages.insert(0, Message::new(pipeline::Role::System, instructions.join("\n\n")));
    }
    Ok(messages)
}

fn unanswered(at: &str, calls: &[String]) -> OpenAiError {
    let message = format!(
        "Tool calls of the assistant must be followed by messages of the role `tool` that answer \
         them; these are not answered: {}.",
        calls.join(", ")
    );
    OpenAiError::invalid(at, message)
}

fn parse_message(message: WireMessage, at: &str) -> Result<Message, OpenAiError> {
    let unsupported =
        |member: &str, reason| OpenAiError::unsupported(format!("{at}.{member}"), reason);
    if message.audio.is_some() {
        return Err(unsupported("audio", "models here read text only."));
    }
    if message.function_call.is_some() {
        return Err(unsupported("function_call", "use `tool_calls`."));
    }
    let calls = message.tool_calls.unwrap_or_default();
    if message.role != Role::Assistant && !calls.is_empty() {
        return Err(unsupported("tool_calls", "only the assistant calls tools."));
    }
    let content = message.content.map(|it| it.into_text(&format!("{at}.content"))).transpose()?;
    let needed = |content: Option<String>| {
        content.ok_or_else(|| OpenAiError::missing(format!("{at}.content")))
    };
    match message.role {
        Role::System | Role::Developer => {
            Ok(Message::new(pipeline::Role::System, needed(content)?))
        }
        Role::User => Ok(Message::new(pipeline::Role::User, needed(content)?)),
        Role::Assistant => {
            let text = content.or(message.refusal).unwrap_or_default();
            let mut parsed = Message::new(pipeline::Role::Assistant, text);
            for (index, call) in calls.into_iter().enumerate() {
                parsed.tool_calls.push(parse_call(call, &format!("{at}.tool_calls[{index}]"))?);
            }
            Ok(parsed)
        }
        Role::Tool => {
            let id = message.tool_call_id;
            let id = id.ok_or_else(|| OpenAiError::missing(format!("{at}.tool_call_id")))?;
            let mut parsed = Message::new(pipeline::Role::Tool, needed(content)?);
            parsed.tool_call_id = Some(id);
            Ok(parsed)
        }
        Role::Function => Err(unsupported("role", "use the role `tool`.")),
    }
}

fn parse_call(call: WireCall, at: &str) -> Result<ToolCall, OpenAiError> {
    let is_function = call.r#type.as_deref().is_none_or(|it| it == "function");
    if !is_function || call.custom.is_some() {
        let reason = "only functions are tools here.";
        return Err(OpenAiError::unsupported(format!("{at}.type"), reason));
    }
    let at = format!("{at}.function");
    let function = call.function.ok_or_else(|| OpenAiError::missing(&at))?;
    tools::call(call.id, function.name, function.arguments, &at)
}
