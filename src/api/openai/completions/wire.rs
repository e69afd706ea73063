//! The body of a completion, and what its answers are made of.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::api::guardrail::BodyConfig;
use crate::api::openai::answer::CompletionUsage;
use crate::api::openai::wire::{StreamOptions, StructuredOutputs, Texts};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the end user changes nothing")]
pub(super) struct CompletionBody {
    pub(super) model: String,
    pub(super) prompt: Prompt,
    pub(super) n: Option<usize>,
    pub(super) stream: Option<bool>,
    pub(super) stream_options: Option<StreamOptions>,
    pub(super) max_tokens: Option<i64>,
    pub(super) stop: Option<Texts>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) seed: Option<i64>,
    pub(super) logprobs: Option<usize>,
    pub(super) echo: Option<bool>,
    // vLLM's additions.
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f64>,
    pub(super) repetition_penalty: Option<f64>,
    pub(super) structured_outputs: Option<StructuredOutputs>,
    // Bedrock's.
    #[serde(rename = "amazon-bedrock-guardrailConfig")]
    pub(super) guardrail_config: Option<BodyConfig>,
    // Only neutral values are taken.
    pub(super) best_of: Option<usize>,
    pub(super) presence_penalty: Option<f64>,
    pub(super) frequency_penalty: Option<f64>,
    pub(super) logit_bias: Option<BTreeMap<String, f64>>,
    // Refused.
    pub(super) suffix: Option<String>,
    user: Option<String>,
}

/// One prompt or several, as texts. Token ids are refused: clients would need the very vocabulary
/// of the model, and ids of control tokens would pass unseen.
pub(super) struct Prompt(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PromptVisitor;
        impl<'de> Visitor<'de> for PromptVisitor {
            type Value = Prompt;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Prompt, E> {
                Ok(Prompt(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Prompt, A::Error> {
                let texts = Vec::deserialize(SeqAccessDeserializer::new(seq));
                texts.map(Prompt).map_err(|_| A::Error::custom("token ids are not supported"))
            }
        }
        deserializer.deserialize_any(PromptVisitor)
    }
}

#[derive(Serialize)]
pub(super) struct Completion<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: &'a str,
    pub(super) system_fingerprint: &'static str,
    pub(super) choices: Vec<Choice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<CompletionUsage>>,
    /// Bedrock's members.
    #[serde(flatten)]
    pub(super) guardrail: Map<String, Value>,
}

#[derive(Serialize)]
pub(super) struct Choice {
    pub(super) index: usize,
    pub(super) text: String,
    pub(super) logprobs: Option<Logprobs>,
    /// `null` in chunks but the last.
    pub(super) finish_reason: Option<&'static str>,
}

/// Lists of equal length, with an entry for each token.
#[derive(Serialize, Debug, Default, PartialEq)]
pub(super) struct Logprobs {
    pub(super) tokens: Vec<String>,
    pub(super) token_logprobs: Vec<f32>,
    /// From the alternatives' texts to their logprobs.
    pub(super) top_logprobs: Vec<Map<String, Value>>,
    /// In characters from the beginning of the choice's text.
    pub(super) text_offset: Vec<usize>,
}
