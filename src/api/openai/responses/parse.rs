//! From the body of a response to [`ChatRequest`]: everything is honoured or refused by its name.

use serde_json::{Map, Value, json};

use crate::api::guardrail::BodyConfig;
use crate::api::openai::error::OpenAiError;
use crate::api::openai::fields::{self, Sampling, in_range, refuse_unless};
use crate::api::openai::responses::wire::{
    FunctionCallItem, FunctionOutputItem, FunctionTool, MessageItem, ResponseBody, ResponseInput,
    Role, TextConfig,
};
use crate::api::openai::tools::{self, Tools};
use crate::api::openai::wire::{Function, parse_value};
use crate::limits;
use crate::pipeline::{self, ChatRequest, Input, Message, OutputFormat};

/// What clients may ask to have included. But for logprobs these belong to tools that run on
/// OpenAI's servers, so nothing is missing where they are not there; and reasoning is in the answer
/// as it is, so that it need not be encrypted.
const INCLUDABLE: [&str; 8] = [
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
];

pub(super) struct ResponseCall {
    pub(super) request: ChatRequest,
    pub(super) stream: bool,
    pub(super) guardrail_config: Option<BodyConfig>,
    /// Members of the answer that repeat the request.
    pub(super) echo: Map<String, Value>,
}

pub(super) fn response_call(body: ResponseBody) -> Result<ResponseCall, OpenAiError> {
    refuse_unsupported(&body)?;
    let (service_tier, priority) = fields::service_tier(body.service_tier.as_deref())?;
    let logprobs = logprobs(body.include.as_deref(), body.top_logprobs)?;
    let reasoning = body.reasoning.unwrap_or_default();
    let effort = reasoning.effort.as_deref();
    let (text, output_format) = text_format(body.text)?;
    let mut echo = Map::new();
    for (name, value) in [
        ("instructions", json!(body.instructions)),
        ("max_output_tokens", json!(body.max_output_tokens)),
        ("metadata", json!(body.metadata.unwrap_or_default())),
        ("parallel_tool_calls", json!(body.parallel_tool_calls.unwrap_or(true))),
        ("reasoning", json!({ "effort": effort, "summary": null })),
        ("service_tier", json!(service_tier)),
        ("temperature", json!(body.temperature)),
        ("text", text),
        ("tool_choice", body.tool_choice.clone().unwrap_or_else(|| json!("auto"))),
        ("tools", json!(body.tools.as_deref().unwrap_or_default())),
        ("top_logprobs", json!(body.top_logprobs.unwrap_or(0))),
        ("top_p", json!(body.top_p)),
    ] {
        echo.insert(name.to_owned(), value);
    }
    let tools = parse_tools(body.tools.unwrap_or_default(), body.tool_choice)?;
    let sampling = Sampling {
        temperature: body.temperature,
        top_p: body.top_p,
        top_k: body.top_k,
        min_p: body.min_p,
        repetition_penalty: body.repetition_penalty,
        seed: body.seed,
    };
    let input = body.input.ok_or_else(|| OpenAiError::missing("input"))?;
    let request = ChatRequest {
        tools: tools.specs,
        tool_choice: tools.choice,
        one_call: body.parallel_tool_calls == Some(false),
        output_format,
        output_field: "text.format.schema",
        max_tokens: fields::max_tokens("max_output_tokens", body.max_output_tokens)?,
        sampling: sampling.check()?,
        reasoning_budget: fields::reasoning_budget(
            "reasoning.effort",
            effort,
            body.reasoning_budget,
        )?,
        priority,
        logprobs,
        ..ChatRequest::new(Input::Messages(conversation(body.instructions, input)?))
    };
    Ok(ResponseCall {
        request,
        stream: body.stream == Some(true),
        guardrail_config: body.guardrail_config,
        echo,
    })
}

fn refuse_unsupported(body: &ResponseBody) -> Result<(), OpenAiError> {
    fields::check_metadata(body.metadata.as_ref())?;
    let stateless = "no response is kept here; send the whole conversation as `input`.";
    refuse_unless(body.previous_response_id.is_none(), "previous_response_id", stateless)?;
    refuse_unless(body.conversation.is_none(), "conversation", stateless)?;
    refuse_unless(body.prompt.is_none(), "prompt", "no prompts are kept here.")?;
    let in_foreground = body.background != Some(true) && body.background_options.is_none();
    refuse_unless(in_foreground, "background", "answers are given at once or as a stream.")?;
    let is_whole = body.truncation.as_deref().is_none_or(|it| it == "disabled");
    refuse_unless(is_whole, "truncation", "an input that is too long is refused.")?;
    let is_managed = body.context_management.as_ref().is_some_and(|it| !it.is_empty());
    refuse_unless(!is_managed, "context_management", "an input that is too long is refused.")?;
    refuse_unless(body.moderation.is_none(), "moderation", "name a guardrail instead.")?;
    refuse_unless(body.access_programs.is_none(), "access_programs", "there are none.")?;
    refuse_unless(body.image.is_none(), "image", "models here read text only.")?;
    let Some(reasoning) = &body.reasoning else { return Ok(()) };
    let is_current =
        reasoning.context.as_deref().is_none_or(|it| ["auto", "current_turn"].contains(&it));
    refuse_unless(is_current, "reasoning.context", "reasoning of earlier turns is dropped.")?;
    let is_standard = reasoning.mode.as_deref().is_none_or(|it| it == "standard");
    refuse_unless(is_standard, "reasoning.mode", "only `standard` is.")
}

fn logprobs(include: Option<&[String]>, top: Option<usize>) -> Result<Option<usize>, OpenAiError> {
    let include = include.unwrap_or_default();
    if let Some(unknown) = include.iter().find(|it| !INCLUDABLE.contains(&it.as_str())) {
        let message = format!("Invalid value for `include`: `{unknown}`.");
        return Err(OpenAiError::invalid("include", message));
    }
    let top = top.map(|it| in_range("top_logprobs", it, &(0..=limits::TOP_LOGPROBS_MAX)));
    let top = top.transpose()?;
    let included = include.iter().any(|it| it == INCLUDABLE[0]);
    Ok((included || top.is_some_and(|it| it > 0)).then_some(top.unwrap_or(0)))
}

/// As the answer repeats it, and as the pipeline takes it.
fn text_format(config: Option<TextConfig>) -> Result<(Value, OutputFormat), OpenAiError> {
    let verbosity = config.as_ref().and_then(|it| it.verbosity.as_deref());
    let is_medium = verbosity.is_none_or(|it| it == "medium");
    refuse_unless(is_medium, "text.verbosity", "only `medium` is; ask for brevity in a message.")?;
    let Some(format) = config.and_then(|it| it.format) else {
        return Ok((json!({ "format": { "type": "text" } }), OutputFormat::Text));
    };
    let mut echo = json!({ "type": format.r#type });
    if format.r#type == "json_schema" {
        if format.name.is_none() {
            return Err(OpenAiError::missing("text.format.name"));
        }
        echo["name"] = json!(format.name);
        echo["description"] = json!(format.description);
        echo["schema"] = json!(format.schema);
        echo["strict"] = json!(format.strict.unwrap_or(true));
    }
    let output_format = fields::output_format(&format.r#type, format.schema, "text.format")?;
    Ok((json!({ "format": echo }), output_format))
}

fn parse_tools(wire: Vec<Value>, choice: Option<Value>) -> Result<Tools, OpenAiError> {
    let mut specs = Vec::new();
    for (index, tool) in wire.into_iter().enumerate() {
        let at = format!("tools[{index}]");
        let kind = tool["type"].as_str().ok_or_else(|| OpenAiError::missing(format!("{at}.type")));
        let kind = kind?;
        if kind != "function" {
            let reason = format!("`{kind}` is a tool of OpenAI's servers; define a function.");
            return Err(OpenAiError::unsupported(format!("{at}.type"), &reason));
        }
        let tool: FunctionTool = parse_value(tool, &at)?;
        let function = Function {
            name: tool.name,
            description: tool.description,
            parameters: tool.parameters,
            strict: tool.strict,
        };
        specs.push(tools::spec(function, &at)?);
    }
    Tools::new(specs, choice)
}

/// Collects items into messages: calls belong to the assistant's message before them.
struct Conversation {
    instructions: Vec<String>,
    messages: Vec<Message>,
    /// Calls that no output has answered yet.
    open_calls: Vec<String>,
}

fn conversation(
    instructions: Option<String>,
    input: ResponseInput,
) -> Result<Vec<Message>, OpenAiError> {
    let instructions = instructions.into_iter().collect();
    let mut conversation =
        Conversation { instructions, messages: Vec::new(), open_calls: Vec::new() };
    match input {
        ResponseInput::Text(text) => {
            conversation.messages.push(Message::new(pipeline::Role::User, text));
        }
        ResponseInput::Items(items) => {
            in_range("input: length", items.len(), &(1..=limits::MESSAGES_MAX))?;
            for (index, item) in items.into_iter().enumerate() {
                conversation.push(item, &format!("input[{index}]"))?;
            }
        }
    }
    conversation.finish()
}

impl Conversation {
    fn push(&mut self, item: Value, at: &str) -> Result<(), OpenAiError> {
        // An item without a type is a message.
        match item["type"].as_str().unwrap_or("message") {
            "message" => {
                let item: MessageItem = parse_value(item, at)?;
                let text = item.content.into_text(&format!("{at}.content"))?;
                self.push_message(item.role, text, at)
            }
            "function_call" => {
                let item: FunctionCallItem = parse_value(item, at)?;
                let call = tools::call(item.call_id, item.name, item.arguments, at)?;
                self.open_calls.push(call.id.clone());
                match self.messages.last_mut() {
                    Some(last) if last.role == pipeline::Role::Assistant => {
                        last.tool_calls.push(call);
                    }
                    Some(_) | None => {
                        let mut message = Message::new(pipeline::Role::Assistant, "");
                        message.tool_calls.push(call);
                        self.messages.push(message);
                    }
                }
                Ok(())
            }
            "function_call_output" => {
                let item: FunctionOutputItem = parse_value(item, at)?;
                let open = self.open_calls.iter().position(|open| *open == item.call_id);
                let Some(open) = open else {
                    let message =
                        format!("No tool call found for the output with id `{}`.", item.call_id);
                    return Err(OpenAiError::invalid(format!("{at}.call_id"), message));
                };
                self.open_calls.swap_remove(open);
                let text = item.output.into_text(&format!("{at}.output"))?;
                let mut message = Message::new(pipeline::Role::Tool, text);
                message.tool_call_id = Some(item.call_id);
                self.messages.push(message);
                Ok(())
            }
            // Reasoning of earlier turns is dropped unread.
            "reasoning" => Ok(()),
            "item_reference" => Err(OpenAiError::unsupported(
                format!("{at}.type"),
                "no response is kept here; send the item itself.",
            )),
            other => {
                let reason = format!("`{other}` is no message, function call or its output.");
                Err(OpenAiError::unsupported(format!("{at}.type"), &reason))
            }
        }
    }

    fn push_message(&mut self, role: Role, text: String, at: &str) -> Result<(), OpenAiError> {
        let role = match role {
            Role::System | Role::Developer => {
                self.instructions.push(text);
                return Ok(());
            }
            Role::User => pipeline::Role::User,
            Role::Assistant => pipeline::Role::Assistant,
        };
        // The text and the calls of one turn are items of their own, in either order.
        let open_turn = self.messages.last_mut().filter(|_| !self.open_calls.is_empty());
        match open_turn {
            Some(turn)
                if role == pipeline::Role::Assistant
                    && turn.role == role
                    && turn.content.is_empty() =>
            {
                turn.content = text;
            }
            Some(_) => return Err(self.unanswered(at)),
            None => self.messages.push(Message::new(role, text)),
        }
        Ok(())
    }

    fn unanswered(&self, at: &str) -> OpenAiError {
        let calls = self.open_calls.join(", ");
        let message = format!("No tool output found for function calls: {calls}.");
        OpenAiError::invalid(at, message)
    }

    fn finish(mut self) -> Result<Vec<Message>, OpenAiError> {
        if !self.open_calls.is_empty() {
            return Err(self.unanswered("input"));
        }
        if !self.instructions.is_empty() {
            let text = self.instructions.join("\n\n");
            self.messages.insert(0, Message::new(pipeline::Role::System, text));
        }
        if self.messages.is_empty() {
            let message = "`input` holds nothing to answer.";
            return Err(OpenAiError::invalid("input", message));
        }
        Ok(self.messages)
    }
}
