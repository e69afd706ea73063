//! From the wire type to a [`ChatRequest`]: everything is honoured or refused by its name.
//!
//! Where Bedrock's own text for a refusal is known it is used, since clients look for it.

use serde_json::Value;

use crate::api::bedrock::converse::content::Conversation;
use crate::api::bedrock::converse::tools::{self, Tools};
use crate::api::bedrock::converse::wire::{
    AdditionalFields, ConverseRequest, InferenceConfig, ModelOutputConfig, OutputConfig,
    ReasoningConfig, ReasoningSwitch, TextFormat,
};
use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::json::{float, in_range, invalid, max_tokens, natural, unsupported};
use crate::api::bedrock::service::{self, Service};
use crate::api::guardrail::GuardrailChoice;
use crate::limits;
use crate::pipeline::{ChatRequest, GuardedText, Input, OutputFormat, SamplingOverrides};

/// What `outputConfig.effort` allows for reasoning, in tokens. The models were not trained to
/// reason more or less, so an effort is where they are cut: `high` and above leave it to them.
const EFFORTS: [(&str, Option<usize>); 8] = [
    ("", None),
    ("none", Some(0)),
    ("minimal", Some(limits::REASONING_TOKENS_MINIMAL)),
    ("low", Some(limits::REASONING_TOKENS_LOW)),
    ("medium", Some(limits::REASONING_TOKENS_MEDIUM)),
    ("high", None),
    ("xhigh", None),
    ("max", None),
];

const SCHEMA: &str = "outputConfig.textFormat.structure.jsonSchema.schema";

/// What a request says beyond what the model is asked.
#[derive(Default)]
pub(in crate::api::bedrock) struct Options {
    pub(in crate::api::bedrock) service: Service,
    pub(in crate::api::bedrock) guardrail: Option<GuardrailChoice>,
    /// What the guardrail is to look at.
    pub(in crate::api::bedrock) guarded: Vec<GuardedText>,
    /// JSON pointers into what the model says beside its answer.
    pub(in crate::api::bedrock) response_fields: Vec<String>,
    /// Whether the request marks what it wants to be cached, and so is told what was.
    pub(in crate::api::bedrock) has_cache_points: bool,
}

/// How the server treats what Bedrock refuses.
#[derive(Clone, Copy, Default)]
pub(in crate::api::bedrock) struct ParseOptions {
    pub(in crate::api::bedrock) strict_reasoning: bool,
    pub(in crate::api::bedrock) is_stream: bool,
}

pub(in crate::api::bedrock) fn converse_request(
    wire: ConverseRequest,
    options: ParseOptions,
) -> Result<(ChatRequest, Options), BedrockError> {
    if wire.prompt_variables.is_some_and(|it| !it.is_empty()) {
        return Err(unsupported("promptVariables", "Managed prompts are not supported."));
    }
    if let Some(metadata) = &wire.request_metadata {
        service::check_metadata(metadata)?;
    }
    let response_fields = wire.additional_model_response_field_paths.unwrap_or_default();
    check_response_fields(&response_fields)?;
    let latency = wire.performance_config.and_then(|it| it.latency);
    let service = Service::new(latency, wire.service_tier.map(|it| it.r#type))?;
    let guardrail = match wire.guardrail_config {
        Some(config) => config.choice(options.is_stream)?,
        None => None,
    };
    let mut fields = wire.additional_model_request_fields.unwrap_or_default();
    let config = wire.inference_config.unwrap_or_default();
    let tools = wire.tool_config.map(tools::parse).transpose()?;
    let Tools { specs, choice, has_cache_points } = tools.unwrap_or_default();
    let mut conversation = Conversation::new(options.strict_reasoning);
    conversation.has_cache_points |= has_cache_points;
    conversation.system(wire.system.unwrap_or_default())?;
    conversation.turns(wire.messages.unwrap_or_default())?;
    let guarded = guardrail.as_ref().map(|_| conversation.guarded()).unwrap_or_default();
    let (messages, has_cache_points) = conversation.finish();
    let Output { format: output_format, field: output_field, budget } =
        output(wire.output_config, fields.output_config.take())?;
    let request = ChatRequest {
        tools: specs,
        tool_choice: choice,
        output_format,
        output_field,
        max_tokens: max_tokens("inferenceConfig.maxTokens", config.max_tokens)?,
        sampling: sampling(&config, &fields)?,
        stop_sequences: config.stop_sequences.unwrap_or_default(),
        reasoning_budget: reasoning_budget(fields, budget)?,
        priority: service.priority(),
        ..ChatRequest::new(Input::Messages(messages))
    };
    Ok((request, Options { service, guardrail, guarded, response_fields, has_cache_points }))
}

fn check_response_fields(paths: &[String]) -> Result<(), BedrockError> {
    let field = "additionalModelResponseFieldPaths";
    in_range(field, paths.len(), &(0..=limits::RESPONSE_FIELD_PATHS_MAX))?;
    for (index, path) in paths.iter().enumerate() {
        let field = format!("{field}.{index}");
        let max = limits::RESPONSE_FIELD_PATH_CHARS_MAX;
        in_range(&format!("{field}: length"), path.chars().count(), &(1..=max))?;
        if !path.starts_with('/') {
            return Err(invalid(format!(
                "The value at `{field}` is not a JSON pointer, which starts with `/`."
            )));
        }
    }
    Ok(())
}

/// The format of the answer, what the request calls it, and the reasoning that an effort allows.
struct Output {
    format: OutputFormat,
    field: &'static str,
    budget: Option<usize>,
}

fn output(
    config: Option<OutputConfig>,
    of_model: Option<ModelOutputConfig>,
) -> Result<Output, BedrockError> {
    match (config, of_model) {
        (None, None) => Ok(Output { format: OutputFormat::Text, field: "", budget: None }),
        (Some(config), None) => {
            let budget = effort("outputConfig.effort", config.effort)?;
            let format = config.text_format.map(text_format).transpose()?.unwrap_or_default();
            Ok(Output { format, field: SCHEMA, budget })
        }
        (None, Some(config)) => {
            let field = "additionalModelRequestFields.output_config.effort";
            let budget = effort(field, config.effort)?;
            let format = config.format.map(|it| OutputFormat::JsonSchema(it.schema.into()));
            let field = "additionalModelRequestFields.output_config.format.schema";
            Ok(Output { format: format.unwrap_or_default(), field, budget })
        }
        (Some(_), Some(_)) => Err(invalid(
            "The request describes its output more than once; keep one of `outputConfig` and \
             `additionalModelRequestFields.output_config`.",
        )),
    }
}

fn effort(field: &str, name: Option<String>) -> Result<Option<usize>, BedrockError> {
    let name = name.unwrap_or_default();
    let known = EFFORTS.iter().find(|(known, _)| *known == name);
    let (_, budget) = known.ok_or_else(|| {
        let names: Vec<_> = EFFORTS.iter().map(|(name, _)| *name).skip(1).collect();
        let names = names.join(", ");
        invalid(format!("The value at `{field}` is not one of {names}."))
    })?;
    Ok(*budget)
}

fn text_format(format: TextFormat) -> Result<OutputFormat, BedrockError> {
    let field = SCHEMA;
    let schema: Value = serde_json::from_str(&format.structure.json_schema.schema)
        .map_err(|error| invalid(format!("The value at `{field}` is not JSON: {error}")))?;
    if !schema.is_object() {
        return Err(invalid(format!("The value at `{field}` must be the text of a JSON object.")));
    }
    Ok(OutputFormat::JsonSchema(schema))
}

fn sampling(
    config: &InferenceConfig,
    fields: &AdditionalFields,
) -> Result<SamplingOverrides, BedrockError> {
    let field = |key: &str| format!("additionalModelRequestFields.{key}");
    Ok(SamplingOverrides {
        temperature: float("inferenceConfig.temperature", config.temperature, &(0.0..=1.0))?,
        top_p: float("inferenceConfig.topP", config.top_p, &(0.0..=1.0))?,
        top_k: natural(&field("top_k"), fields.top_k)?,
        min_p: float(&field("min_p"), fields.min_p, &(0.0..=1.0))?,
        repetition_penalty: float(
            &field("repetition_penalty"),
            fields.repetition_penalty,
            &limits::repetition_penalties(),
        )?,
        seed: natural(&field("seed"), fields.seed)?.map(|it| it as u64),
    })
}

/// `disabled` is a budget of nothing: the reasoning part is closed at once.
fn reasoning_budget(
    fields: AdditionalFields,
    effort: Option<usize>,
) -> Result<Option<usize>, BedrockError> {
    let spellings = [
        natural("additionalModelRequestFields.reasoning_budget", fields.reasoning_budget)?,
        reasoning_config("reasoning_config", fields.reasoning_config)?,
        reasoning_config("thinking", fields.thinking)?,
        effort,
    ];
    let mut given = spellings.into_iter().flatten();
    let budget = given.next();
    if given.next().is_some() {
        return Err(invalid(
            "The request names the reasoning budget more than once; keep one of \
             `additionalModelRequestFields.reasoning_budget`, `….reasoning_config`, `….thinking` \
             and `outputConfig.effort`.",
        ));
    }
    Ok(budget)
}

fn reasoning_config(
    key: &str,
    config: Option<ReasoningConfig>,
) -> Result<Option<usize>, BedrockError> {
    let Some(config) = config else { return Ok(None) };
    let field = format!("additionalModelRequestFields.{key}.budget_tokens");
    let budget = natural(&field, config.budget_tokens)?;
    match (config.r#type, budget) {
        (ReasoningSwitch::Enabled, budget) => Ok(budget),
        (ReasoningSwitch::Disabled, None) => Ok(Some(0)),
        (ReasoningSwitch::Disabled, Some(_)) => {
            Err(invalid(format!("`{field}` needs the type `enabled`.")))
        }
    }
}

/// The prompt of a request, for counting its tokens.
pub(in crate::api::bedrock) fn prompt(
    wire: impl Into<ConverseRequest>,
) -> Result<ChatRequest, BedrockError> {
    converse_request(wire.into(), ParseOptions::default()).map(|(request, _)| request)
}
