//! From the wire type to a [`ChatRequest`]: everything is honoured or refused by its name.
//!
//! Where Bedrock's own text for a refusal is known it is used, since clients look for it.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::de::IgnoredAny;

use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::wire::{
    AdditionalFields, ContentBlock, ConverseRequest, InferenceConfig, Latency, Message,
    ReasoningConfig, ReasoningSwitch, Role, TierType,
};
use crate::limits;
use crate::pipeline::{self, ChatRequest, Input, SamplingOverrides};

/// The deepest JSON that is read is serde_json's limit of 128 levels.
pub(super) fn converse_request(body: &[u8]) -> Result<ChatRequest, BedrockError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let wire: ConverseRequest = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner();
        invalid(if path == "." {
            format!("The request body is not valid: {reason}")
        } else {
            format!("The value at `{path}` is not valid: {reason}")
        })
    })?;
    json.end().map_err(|error| invalid(format!("The request body is not valid: {error}")))?;
    wire.try_into()
}

fn invalid(message: impl Into<String>) -> BedrockError {
    BedrockError::Validation(message.into())
}

impl TryFrom<ConverseRequest> for ChatRequest {
    type Error = BedrockError;

    fn try_from(wire: ConverseRequest) -> Result<Self, BedrockError> {
        refuse_unsupported(&wire)?;
        let fields = wire.additional_model_request_fields.unwrap_or_default();
        let config = wire.inference_config.unwrap_or_default();
        let mut messages = Vec::new();
        if let Some(system) = system_message(wire.system.unwrap_or_default())? {
            messages.push(system);
        }
        conversation(wire.messages.unwrap_or_default(), &mut messages)?;
        Ok(Self {
            max_tokens: max_tokens(config.max_tokens)?,
            sampling: sampling(&config, &fields)?,
            stop_sequences: config.stop_sequences.unwrap_or_default(),
            reasoning_budget: reasoning_budget(fields)?,
            ..Self::new(Input::Messages(messages))
        })
    }
}

fn refuse_unsupported(wire: &ConverseRequest) -> Result<(), BedrockError> {
    refuse("toolConfig", wire.tool_config, "This model doesn't support tool use.")?;
    refuse("guardrailConfig", wire.guardrail_config, "Guardrails are not supported.")?;
    refuse("promptVariables", wire.prompt_variables, "Managed prompts are not supported.")?;
    refuse("outputConfig", wire.output_config, "Structured output is not supported.")?;
    if wire.additional_model_response_field_paths.as_ref().is_some_and(|it| !it.is_empty()) {
        return Err(unsupported("additionalModelResponseFieldPaths", "The model has none."));
    }
    let latency = wire.performance_config.as_ref().and_then(|it| it.latency);
    if latency == Some(Latency::Optimized) {
        return Err(unsupported("performanceConfig.latency", "Only `standard` is supported."));
    }
    if wire.service_tier.as_ref().is_some_and(|it| it.r#type != TierType::Default) {
        return Err(unsupported("serviceTier.type", "Only `default` is supported."));
    }
    let Some(metadata) = &wire.request_metadata else { return Ok(()) };
    in_range("requestMetadata", metadata.len(), &(1..=limits::REQUEST_METADATA_ENTRIES_MAX))?;
    for (key, value) in metadata {
        let (keys, values) = (key.chars().count(), value.chars().count());
        let max = limits::REQUEST_METADATA_CHARS_MAX;
        in_range("requestMetadata: length of a key", keys, &(1..=max))?;
        in_range("requestMetadata: length of a value", values, &(0..=max))?;
    }
    Ok(())
}

fn refuse(field: &str, value: Option<IgnoredAny>, reason: &str) -> Result<(), BedrockError> {
    match value {
        None => Ok(()),
        Some(IgnoredAny) => Err(unsupported(field, reason)),
    }
}

fn unsupported(field: &str, reason: &str) -> BedrockError {
    invalid(format!("{reason} Remove `{field}` from the request and try again."))
}

fn in_range<T: PartialOrd + Display>(
    field: &str,
    value: T,
    range: &RangeInclusive<T>,
) -> Result<T, BedrockError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (start, end) = (range.start(), range.end());
    Err(invalid(format!("The value at `{field}` is {value}; it must be from {start} to {end}.")))
}

/// Text blocks are joined by line breaks, as for a chat template that takes plain strings.
fn system_message(blocks: Vec<ContentBlock>) -> Result<Option<pipeline::Message>, BedrockError> {
    in_range("system: number of blocks", blocks.len(), &(0..=limits::CONTENT_BLOCKS_MAX))?;
    let mut texts = Vec::new();
    for (index, block) in blocks.into_iter().enumerate() {
        let path = format!("system.{index}");
        match parse_block(block, &path)? {
            Block::Text(text) if text.is_empty() => {
                return Err(invalid(format!("The text field at {path} is blank.")));
            }
            Block::Text(text) => texts.push(text),
            Block::CachePoint => {}
            Block::Reasoning => return Err(unsupported(&path, "Reasoning is not a prompt.")),
        }
    }
    let message = |content| pipeline::Message::new(pipeline::Role::System, content);
    Ok((!texts.is_empty()).then(|| message(texts.join("\n"))))
}

fn conversation(
    wire: Vec<Message>,
    messages: &mut Vec<pipeline::Message>,
) -> Result<(), BedrockError> {
    in_range("messages: length", wire.len(), &(1..=limits::MESSAGES_MAX))?;
    let mut previous = None;
    for (index, message) in wire.into_iter().enumerate() {
        let role = message.role;
        check_turn(index, role, previous)?;
        previous = Some(role);
        messages.push(parse_message(message, index)?);
    }
    match previous {
        Some(Role::User) => Ok(()),
        Some(Role::Assistant | Role::System) | None => Err(invalid(
            "This model does not support assistant message prefill. The conversation must end \
             with a user message.",
        )),
    }
}

fn check_turn(index: usize, role: Role, previous: Option<Role>) -> Result<(), BedrockError> {
    if role == Role::System {
        return Err(unsupported(
            &format!("messages.{index}"),
            "System messages are supported in `system` only.",
        ));
    }
    match previous {
        None if role != Role::User => Err(invalid(
            "A conversation must start with a user message. Try again with a conversation that \
             starts with a user message.",
        )),
        Some(previous) if previous == role => Err(invalid(
            "A conversation must alternate between user and assistant roles. Make sure the \
             conversation alternates between user and assistant roles and try again.",
        )),
        None | Some(_) => Ok(()),
    }
}

/// An answer that was cut while reasoning leaves nothing but reasoning in the history, or blank
/// text: an assistant's turn may be empty, a user's may not.
fn parse_message(message: Message, index: usize) -> Result<pipeline::Message, BedrockError> {
    let path = format!("messages.{index}.content");
    let num_blocks = message.content.len();
    if num_blocks == 0 {
        return Err(invalid(format!(
            "The content field in the Message object at messages.{index} is empty. Add a \
             ContentBlock object to the content field and try again."
        )));
    }
    in_range(&format!("{path}: number of blocks"), num_blocks, &(1..=limits::CONTENT_BLOCKS_MAX))?;
    let from_user = message.role == Role::User;
    let mut texts = Vec::new();
    for (block_index, block) in message.content.into_iter().enumerate() {
        let path = format!("{path}.{block_index}");
        match parse_block(block, &path)? {
            Block::Text(text) if from_user && text.trim().is_empty() => {
                return Err(invalid(format!(
                    "The text field in the ContentBlock object at {path} is blank. Add text to \
                     the text field, and try again."
                )));
            }
            Block::Text(text) => texts.push(text),
            Block::CachePoint => {}
            Block::Reasoning if from_user => {
                return Err(invalid(
                    "User messages cannot contain reasoning content. Please remove the reasoning \
                     content and try again.",
                ));
            }
            Block::Reasoning => {}
        }
    }
    if from_user && texts.is_empty() {
        return Err(invalid(format!("The value at `{path}` must hold a text block.")));
    }
    let role = if from_user { pipeline::Role::User } else { pipeline::Role::Assistant };
    Ok(pipeline::Message::new(role, texts.join("\n")))
}

/// What is left of the union of content blocks.
enum Block {
    Text(String),
    /// Asks for what happens anyway: every prefix is cached.
    CachePoint,
    Reasoning,
}

fn parse_block(block: ContentBlock, path: &str) -> Result<Block, BedrockError> {
    let unsupported_members = [
        ("image", block.image),
        ("document", block.document),
        ("video", block.video),
        ("audio", block.audio),
        ("toolUse", block.tool_use),
        ("toolResult", block.tool_result),
        ("guardContent", block.guard_content),
        ("citationsContent", block.citations_content),
        ("searchResult", block.search_result),
        ("toolAddition", block.tool_addition),
        ("toolRemoval", block.tool_removal),
    ];
    for (member, value) in unsupported_members {
        let reason = format!("This model doesn't support the {member} field.");
        refuse(&format!("{path}.{member}"), value, &reason)?;
    }
    match (block.text, block.cache_point, block.reasoning_content) {
        (Some(text), None, None) => Ok(Block::Text(text)),
        (None, Some(_), None) => Ok(Block::CachePoint),
        (None, None, Some(IgnoredAny)) => Ok(Block::Reasoning),
        (None, None, None) => {
            Err(invalid(format!("The block at `{path}` is empty; set exactly one member.")))
        }
        _ => Err(invalid(format!("The block at `{path}` sets several members; set exactly one."))),
    }
}

fn max_tokens(value: Option<i64>) -> Result<Option<usize>, BedrockError> {
    let field = "inferenceConfig.maxTokens";
    let checked = value.map(|it| in_range(field, it, &(1..=i64::from(i32::MAX)))).transpose()?;
    Ok(checked.map(|it| usize::try_from(it).expect("it is positive")))
}

fn sampling(
    config: &InferenceConfig,
    fields: &AdditionalFields,
) -> Result<SamplingOverrides, BedrockError> {
    let penalties =
        f64::from(limits::REPETITION_PENALTY_MIN)..=f64::from(limits::REPETITION_PENALTY_MAX);
    Ok(SamplingOverrides {
        temperature: float("inferenceConfig.temperature", config.temperature, &(0.0..=1.0))?,
        top_p: float("inferenceConfig.topP", config.top_p, &(0.0..=1.0))?,
        top_k: natural("top_k", fields.top_k)?,
        min_p: float("additionalModelRequestFields.min_p", fields.min_p, &(0.0..=1.0))?,
        repetition_penalty: float(
            "additionalModelRequestFields.repetition_penalty",
            fields.repetition_penalty,
            &penalties,
        )?,
        seed: natural("seed", fields.seed)?.map(|it| it as u64),
    })
}

fn float(
    field: &str,
    value: Option<f64>,
    range: &RangeInclusive<f64>,
) -> Result<Option<f32>, BedrockError> {
    Ok(value.map(|value| in_range(field, value, range)).transpose()?.map(|value| value as f32))
}

fn natural(key: &str, value: Option<i64>) -> Result<Option<usize>, BedrockError> {
    let field = format!("additionalModelRequestFields.{key}");
    let checked = value.map(|it| in_range(&field, it, &(0..=i64::MAX))).transpose()?;
    Ok(checked.map(|it| usize::try_from(it).expect("it is not negative")))
}

/// `disabled` is a budget of nothing: the reasoning part is closed at once.
fn reasoning_budget(fields: AdditionalFields) -> Result<Option<usize>, BedrockError> {
    let spellings = [
        natural("reasoning_budget", fields.reasoning_budget)?,
        reasoning_config("reasoning_config", fields.reasoning_config)?,
        reasoning_config("thinking", fields.thinking)?,
    ];
    let mut given = spellings.into_iter().flatten();
    let budget = given.next();
    if given.next().is_some() {
        return Err(invalid(
            "`additionalModelRequestFields` names the reasoning budget more than once; keep one \
             of `reasoning_budget`, `reasoning_config` and `thinking`.",
        ));
    }
    Ok(budget)
}

fn reasoning_config(
    key: &str,
    config: Option<ReasoningConfig>,
) -> Result<Option<usize>, BedrockError> {
    let Some(config) = config else { return Ok(None) };
    let budget = natural(&format!("{key}.budget_tokens"), config.budget_tokens)?;
    match (config.r#type, budget) {
        (ReasoningSwitch::Enabled, budget) => Ok(budget),
        (ReasoningSwitch::Disabled, None) => Ok(Some(0)),
        (ReasoningSwitch::Disabled, Some(_)) => Err(invalid(format!(
            "`additionalModelRequestFields.{key}.budget_tokens` needs the type `enabled`."
        ))),
    }
}
