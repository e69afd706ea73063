//! The operations that requests ask for, and whose words they are answered in.

/// Where OpenAI's operations are: under its own prefix and under Bedrock's.
pub(super) const OPENAI_PREFIXES: [&str; 2] = ["/v1", "/openai/v1"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Converse,
    ConverseStream,
    InvokeModel,
    InvokeModelWithResponseStream,
    CountTokens,
    ApplyGuardrail,
    InvokeGuardrailChecks,
    ListFoundationModels,
    GetFoundationModel,
    GetFoundationModelAvailability,
    ListInferenceProfiles,
    GetInferenceProfile,
    ChatCompletions,
    Completions,
    Responses,
    ListModels,
    RetrieveModel,
}

/// Whose words an operation's errors are told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Bedrock,
    OpenAi,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Converse => "Converse",
            Self::ConverseStream => "ConverseStream",
            Self::InvokeModel => "InvokeModel",
            Self::InvokeModelWithResponseStream => "InvokeModelWithResponseStream",
            Self::CountTokens => "CountTokens",
            Self::ApplyGuardrail => "ApplyGuardrail",
            Self::InvokeGuardrailChecks => "InvokeGuardrailChecks",
            Self::ListFoundationModels => "ListFoundationModels",
            Self::GetFoundationModel => "GetFoundationModel",
            Self::GetFoundationModelAvailability => "GetFoundationModelAvailability",
            Self::ListInferenceProfiles => "ListInferenceProfiles",
            Self::GetInferenceProfile => "GetInferenceProfile",
            Self::ChatCompletions => "ChatCompletions",
            Self::Completions => "Completions",
            Self::Responses => "Responses",
            Self::ListModels => "ListModels",
            Self::RetrieveModel => "RetrieveModel",
        }
    }

    /// Whether it takes what a key's quota is for. To look around and to count is free.
    pub(super) fn is_metered(self) -> bool {
        match self {
            Self::Converse
            | Self::ConverseStream
            | Self::InvokeModel
            | Self::InvokeModelWithResponseStream
            | Self::ApplyGuardrail
            | Self::InvokeGuardrailChecks
            | Self::ChatCompletions
            | Self::Completions
            | Self::Responses => true,
            Self::CountTokens
            | Self::ListFoundationModels
            | Self::GetFoundationModel
            | Self::GetFoundationModelAvailability
            | Self::ListInferenceProfiles
            | Self::GetInferenceProfile
            | Self::ListModels
            | Self::RetrieveModel => false,
        }
    }

    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Converse
            | Self::ConverseStream
            | Self::InvokeModel
            | Self::InvokeModelWithResponseStream
            | Self::CountTokens
            | Self::ApplyGuardrail
            | Self::InvokeGuardrailChecks
            | Self::ListFoundationModels
            | Self::GetFoundationModel
            | Self::GetFoundationModelAvailability
            | Self::ListInferenceProfiles
            | Self::GetInferenceProfile => Protocol::Bedrock,
            Self::ChatCompletions
            | Self::Completions
            | Self::Responses
            | Self::ListModels
            | Self::RetrieveModel => Protocol::OpenAi,
        }
    }
}

impl Protocol {
    /// Of a request that reached no operation.
    pub(super) fn of(path: &str) -> Self {
        let is_openai = OPENAI_PREFIXES.iter().any(|&prefix| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        match is_openai {
            true => Self::OpenAi,
            false => Self::Bedrock,
        }
    }
}
