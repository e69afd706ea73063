//! Guardrails as requests name them and mark text for them.

use axum::http::HeaderMap;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::json::{invalid, refuse};
use crate::api::bedrock::service::header;

/// `guardrailConfig` of Converse and ConverseStream.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct GuardrailConfig {
    guardrail_identifier: Option<String>,
    guardrail_version: Option<String>,
    #[serde(rename = "trace")]
    _trace: Option<ConfigTrace>,
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

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum StreamProcessingMode {
    Sync,
    Async,
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
    #[serde(rename = "qualifiers")]
    _qualifiers: Option<Vec<Qualifier>>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Qualifier {
    GroundingSource,
    Query,
    GuardContent,
}

impl GuardContent {
    pub(super) fn into_text(self, path: &str) -> Result<String, BedrockError> {
        refuse(&format!("{path}.image"), self.image, "Images are not supported.")?;
        match self.text {
            Some(text) => Ok(text.text),
            None => Err(invalid(format!("The block at `{path}` is empty; set `text`."))),
        }
    }
}

/// Which guardrail a request names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GuardrailChoice {
    pub(super) identifier: String,
    pub(super) version: String,
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
            (Some(identifier), Some(version)) => Ok(Some(Self { identifier, version })),
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
        Self::new(config.guardrail_identifier, config.guardrail_version)
    }

    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Option<Self>, BedrockError> {
        let text = |name: &str| {
            let value = headers.get(name).map(|value| value.to_str().map(str::to_owned));
            value.transpose().map_err(|_| invalid(format!("The header `{name}` is not ASCII.")))
        };
        let traces = ["ENABLED", "DISABLED", "ENABLED_FULL"];
        header(headers, "x-amzn-bedrock-trace", &traces, |it| it)?;
        Self::new(
            text("x-amzn-bedrock-guardrailidentifier")?,
            text("x-amzn-bedrock-guardrailversion")?,
        )
    }

    /// Of the guardrails that this server has: none.
    pub(super) fn resolve(self) -> Result<(), BedrockError> {
        let Self { identifier, version } = self;
        Err(BedrockError::ResourceNotFound(format!(
            "The guardrail `{identifier}` has no version `{version}` on this server."
        )))
    }
}
