//! Policies on text, as Amazon Bedrock Guardrails has them: what they find, and what then becomes
//! of the text. Knows neither requests nor models nor tokens.
//!
//! [`Guardrails`] are read from files as [`GuardrailDefinition`]s and compiled to [`Guardrail`]s.
//! [`Guardrail::assess`] judges a whole text, [`StreamGuard`] an answer while it is written; both
//! say what they found in an [`Assessment`].

mod advice;
pub mod assessment;
mod block;
mod checks;
mod consult;
#[cfg(test)]
mod consult_tests;
mod definition;
mod detect;
mod entities;
mod experts;
pub mod fold;
mod grounding;
mod guard;
pub mod learned;
mod likeness;
mod pattern;
mod registry;
mod report;
mod rules;
mod segment;
mod stream;
mod terms;
#[cfg(test)]
mod tests;
mod topic;
mod words;

pub use assessment::{Assessment, Fired, Intervention};
pub use block::{Block, Direction, Qualifier};
pub use checks::{EntityFinder, FoundEntity, Severities};
pub use definition::{ContentFilter, DefinitionError, GuardrailDefinition};
pub use entities::EntityKind;
pub use experts::{Embed, ExpertFailed, Experts, Judge, OnFailure, Question};
pub use grounding::Grounding;
pub use guard::{Guardrail, Identity, Outcome, Verdict};
pub use registry::{DRAFT, Guardrails, RegistryError, ResolveError};
pub use report::OutputScope;
pub use stream::{CannotMask, Released, StreamGuard, StreamMode};
