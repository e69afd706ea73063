//! Policies on text, as Amazon Bedrock Guardrails has them: what they find, and what then becomes
//! of the text. Knows neither requests nor models nor tokens.

mod entities;
pub mod fold;
mod words;
