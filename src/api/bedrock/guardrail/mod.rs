//! Guardrails as Converse names them and marks text for them.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::json::{invalid, refuse};
use crate::api::guardrail::{GuardrailChoice, GuardrailRefusal, TraceLevel};
use crate::guardrail::{self, StreamMode};
use crate::pipeline::{GuardedText, GuardrailTrace};

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

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum ConfigTrace {
    Enabled,
    Disabled,
    EnabledFull,
}

impl From<ConfigTrace> for TraceLevel {
    fn from(trace: ConfigTrace) -> Self {
        match trace {
            ConfigTrace::Enabled => Self::Enabled,
            ConfigTrace::Disabled => Self::Disabled,
            ConfigTrace::EnabledFull => Self::EnabledFull,
        }
    }
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

impl GuardrailConfig {
    pub(super) fn choice(self, is_stream: bool) -> Result<Option<GuardrailChoice>, BedrockError> {
        if self.stream_processing_mode.is_some() && !is_stream {
            return Err(invalid(
                "`guardrailConfig.streamProcessingMode` is a member of ConverseStream only. \
                 Remove it and try again.",
            ));
        }
        let choice = GuardrailChoice::new(self.guardrail_identifier, self.guardrail_version)?;
        let mode = self.stream_processing_mode.map(StreamMode::from).unwrap_or_default();
        let trace = self.trace.map(TraceLevel::from).unwrap_or_default();
        Ok(choice.map(|mut choice| {
            (choice.trace, choice.mode, choice.is_stream) = (trace, mode, is_stream);
            choice
        }))
    }
}

/// The member `trace` of Converse's answer, if the client asked for it.
pub(super) fn converse_trace(choice: &GuardrailChoice, trace: &GuardrailTrace) -> Option<Value> {
    if choice.trace == TraceLevel::Disabled {
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
    if let Some(written) = &trace.model_output {
        guardrail["modelOutput"] = json!([written]);
    }
    if let Some(reason) = trace.action_reason() {
        guardrail["actionReason"] = json!(reason);
    }
    Some(json!({ "guardrail": guardrail }))
}

impl From<GuardrailRefusal> for BedrockError {
    fn from(refusal: GuardrailRefusal) -> Self {
        match refusal {
            GuardrailRefusal::NotFound { .. } => Self::ResourceNotFound(refusal.to_string()),
            GuardrailRefusal::Incomplete { .. }
            | GuardrailRefusal::Header { .. }
            | GuardrailRefusal::NoGuardrail
            | GuardrailRefusal::Suffix { .. }
            | GuardrailRefusal::NotAStream
            | GuardrailRefusal::Tags(_)
            | GuardrailRefusal::Logprobs => Self::Validation(refusal.to_string()),
        }
    }
}
