//! Guardrails as requests name them and mark text for them.

use axum::http::HeaderMap;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use crate::api::app::App;
use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::json::{invalid, refuse};
use crate::api::bedrock::service::header;
use crate::guardrail::{self, Intervention, OutputScope, ResolveError, StreamMode};
use crate::pipeline::{GuardedText, Guarding, GuardrailTrace};

/// `guardrailConfig` of Converse and ConverseStream.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct GuardrailConfig {
    guardrail_identifier: Option<String>,
    guardrail_version: Option<String>,
    trace: Option<ConfigTrace>,
    /// Of ConverseStream only.
    stream_processing_mode: Option<StreamProcessingMode>,
}

#[derive(Debug, Deserialize, Clone, Copy, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum ConfigTrace {
    Enabled,
    #[default]
    Disabled,
    EnabledFull,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum StreamProcessingMode {
    Sync,
    Async,
}

impl From<StreamProcessingMode> for StreamMode {
    fn from(mode: StreamProcessingMode) -> Self {
        match mode {
            StreamProcessingMode::Sync => Self::Sync,
            StreamProcessingMode::Async => Self::Async,
        }
    }
}

/// A block of text that a guardrail is to look at. The model reads it like any other text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GuardContent {
    text: Option<GuardText>,
    image: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GuardText {
    text: String,
    qualifiers: Option<Vec<Qualifier>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Qualifier {
    GroundingSource,
    Query,
    GuardContent,
}

impl From<Qualifier> for guardrail::Qualifier {
    fn from(qualifier: Qualifier) -> Self {
        match qualifier {
            Qualifier::GroundingSource => Self::GroundingSource,
            Qualifier::Query => Self::Query,
            Qualifier::GuardContent => Self::GuardContent,
        }
    }
}

impl GuardContent {
    pub(super) fn into_text(self, path: &str) -> Result<GuardedText, BedrockError> {
        refuse(&format!("{path}.image"), self.image, "Images are not supported.")?;
        let Some(GuardText { text, qualifiers }) = self.text else {
            return Err(invalid(format!("The block at `{path}` is empty; set `text`.")));
        };
        let qualifiers = qualifiers.unwrap_or_default().into_iter().map(Into::into).collect();
        Ok(GuardedText { text, qualifiers })
    }
}

/// Which guardrail a request names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GuardrailChoice {
    pub(super) identifier: String,
    pub(super) version: String,
    pub(super) trace: ConfigTrace,
    pub(super) mode: StreamMode,
    /// The answer goes out while it is written.
    pub(super) is_stream: bool,
}

impl GuardrailChoice {
    /// An identifier and a version come together, or there is no guardrail.
    fn new(
        identifier: Option<String>,
        version: Option<String>,
    ) -> Result<Option<Self>, BedrockError> {
        let given = |value: Option<String>| value.filter(|it| !it.is_empty());
        match (given(identifier), given(version)) {
            (None, None) => Ok(None),
            (Some(identifier), Some(version)) => Ok(Some(Self {
                identifier,
                version,
                trace: ConfigTrace::default(),
                mode: StreamMode::default(),
                is_stream: false,
            })),
            (None, Some(_)) | (Some(_), None) => Err(invalid(
                "A guardrail needs both, its identifier and its version. Add the one that is \
                 missing and try again.",
            )),
        }
    }

    pub(super) fn from_config(
        config: Option<GuardrailConfig>,
        is_stream: bool,
    ) -> Result<Option<Self>, BedrockError> {
        let Some(config) = config else { return Ok(None) };
        if config.stream_processing_mode.is_some() && !is_stream {
            return Err(invalid(
                "`guardrailConfig.streamProcessingMode` is a member of ConverseStream only. \
                 Remove it and try again.",
            ));
        }
        let choice = Self::new(config.guardrail_identifier, config.guardrail_version)?;
        let mode = config.stream_processing_mode.map(StreamMode::from).unwrap_or_default();
        let trace = config.trace.unwrap_or_default();
        Ok(choice.map(|choice| Self { trace, mode, is_stream, ..choice }))
    }

    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, BedrockError> {
        let text = |name: &str| {
            let value = headers.get(name).map(|value| value.to_str().map(str::to_owned));
            value.transpose().map_err(|_| invalid(format!("The header `{name}` is not ASCII.")))
        };
        let traces = ["ENABLED", "DISABLED", "ENABLED_FULL"];
        header(headers, "x-amzn-bedrock-trace", &traces, |it| it)?;
        let trace = match text("x-amzn-bedrock-trace")?.as_deref() {
            Some("ENABLED") => ConfigTrace::Enabled,
            Some("ENABLED_FULL") => ConfigTrace::EnabledFull,
            _ => ConfigTrace::Disabled,
        };
        let choice = Self::new(
            text("x-amzn-bedrock-guardrailidentifier")?,
            text("x-amzn-bedrock-guardrailversion")?,
        )?;
        Ok(choice.map(|choice| Self { trace, ..choice }))
    }

    /// The guardrail of this server that is meant, around texts of the client.
    pub(super) fn resolve(
        &self,
        app: &App,
        input: Vec<GuardedText>,
    ) -> Result<Guarding, BedrockError> {
        let guardrails = &app.shared().guardrails;
        let guardrail = guardrails.resolve(&self.identifier, &self.version);
        Ok(Guarding {
            guardrail: guardrail.map_err(|error| not_found(&error))?,
            input,
            mode: self.mode,
            scope: match self.trace {
                ConfigTrace::EnabledFull => OutputScope::Full,
                ConfigTrace::Enabled | ConfigTrace::Disabled => OutputScope::Interventions,
            },
            is_whole: !self.is_stream,
            reasoning: true,
        })
    }

    /// What the body of InvokeModel's answer tells of the guardrail.
    pub(super) fn invoke_members(&self, trace: &GuardrailTrace) -> Map<String, Value> {
        let action = match trace.intervention() {
            Intervention::None => "NONE",
            Intervention::Anonymized | Intervention::Blocked => "INTERVENED",
        };
        let mut members = Map::new();
        members.insert("amazon-bedrock-guardrailAction".to_owned(), json!(action));
        if self.trace != ConfigTrace::Disabled {
            let id = &trace.guardrail_id;
            let outputs: Vec<Value> = trace.outputs.iter().map(|it| json!({ id: it })).collect();
            let guardrail = json!({ "input": { id: trace.input }, "outputs": outputs });
            let told = json!({ "guardrail": guardrail });
            members.insert("amazon-bedrock-trace".to_owned(), told);
        }
        members
    }

    /// The member `trace` of an answer, if the client asked for it.
    pub(super) fn trace(&self, trace: &GuardrailTrace) -> Option<Value> {
        if self.trace == ConfigTrace::Disabled {
            return None;
        }
        let id = &trace.guardrail_id;
        let mut guardrail = json!({});
        if let Some(input) = &trace.input {
            guardrail["inputAssessment"] = json!({ id: input });
        }
        if !trace.outputs.is_empty() {
            guardrail["outputAssessments"] = json!({ id: trace.outputs });
        }
        if let Some(reason) = trace.action_reason() {
            guardrail["actionReason"] = json!(reason);
        }
        Some(json!({ "guardrail": guardrail }))
    }
}

pub(super) fn not_found(error: &ResolveError) -> BedrockError {
    BedrockError::ResourceNotFound(format!("On this server {error}."))
}
