//! What of the guardrail is learnt from examples: content heads, a tagger of names and addresses,
//! similarity to a topic, and support by a source.
//!
//! All of it is linear in the text and of one pass, so that it costs microseconds. The weights are
//! trained by `scripts/train-guardrail`, described in `models/guardrail/README.md`, and embedded.
//! This module knows texts only: no policies, no actions, no requests.

pub mod content;
pub mod ngrams;
pub mod tagger;
pub mod tokens;
pub mod weights;

pub use content::{Category, Confidence, ContentScorer, ContentScores, ContentStream};
pub use tagger::{Entity, EntityKind, Tagger};
pub use weights::WeightsError;
