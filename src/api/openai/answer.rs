//! What the answers of several operations share.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use uuid::Uuid;

use crate::pipeline::{StopReason, TokenLogprob, Usage};

/// Equal seeds give equal answers as long as this stays the same.
pub(super) const SYSTEM_FINGERPRINT: &str = concat!("outcrop-", env!("CARGO_PKG_VERSION"));

/// Who gave an answer, and when: the head of every answer and of every chunk of a stream.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// As the client named it.
    pub(super) model: String,
}

impl Head {
    pub(super) fn new(id_prefix: &str, model: String) -> Self {
        Self { id: unique_id(id_prefix), created: unix_seconds(SystemTime::now()), model }
    }
}

pub(super) fn unique_id(prefix: &str) -> String {
    format!("{prefix}{}", Uuid::new_v4().simple())
}

/// 0 for a clock that stands before 1970.
pub(super) fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs())
}

pub(super) fn finish_reason(reason: &StopReason) -> &'static str {
    match reason {
        // A call that is not valid is in the text, as the model wrote it.
        StopReason::EndTurn | StopReason::StopSequence(_) | StopReason::MalformedToolUse => "stop",
        StopReason::MaxTokens | StopReason::ContextWindowExceeded => "length",
        StopReason::ToolUse => "tool_calls",
        StopReason::GuardrailIntervened => "content_filter",
    }
}

#[derive(Serialize, Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CompletionUsage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptTokensDetails,
    completion_tokens_details: CompletionTokensDetails,
}

#[derive(Serialize, Debug, Clone, Copy, PartialEq, Eq)]
struct PromptTokensDetails {
    cached_tokens: usize,
    cache_write_tokens: usize,
}

#[derive(Serialize, Debug, Clone, Copy, PartialEq, Eq)]
struct CompletionTokensDetails {
    reasoning_tokens: usize,
}

impl From<Usage> for CompletionUsage {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.generated_tokens,
            total_tokens: usage.prompt_tokens + usage.generated_tokens,
            prompt_tokens_details: PromptTokensDetails {
                cached_tokens: usage.cached_prompt_tokens,
                cache_write_tokens: usage.written_prompt_tokens,
            },
            completion_tokens_details: CompletionTokensDetails {
                reasoning_tokens: usage.reasoning_tokens,
            },
        }
    }
}

#[derive(Serialize, Debug, Clone, PartialEq)]
pub(super) struct Logprob {
    pub(super) token: String,
    pub(super) logprob: f32,
    pub(super) bytes: Vec<u8>,
    pub(super) top_logprobs: Vec<TopLogprob>,
}

#[derive(Serialize, Debug, Clone, PartialEq)]
pub(super) struct TopLogprob {
    pub(super) token: String,
    pub(super) logprob: f32,
    pub(super) bytes: Vec<u8>,
}

impl From<TokenLogprob> for Logprob {
    fn from(token: TokenLogprob) -> Self {
        let top = |(token, bytes, logprob)| TopLogprob { token, logprob: finite(logprob), bytes };
        Self {
            token: token.text,
            logprob: finite(token.logprob),
            bytes: token.bytes,
            top_logprobs: token.top.into_iter().map(top).collect(),
        }
    }
}

/// JSON has no infinities; a token that was impossible has OpenAI's -9999.
pub(super) fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}
