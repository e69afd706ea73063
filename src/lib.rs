//! Outcrop hosts DeepSeek-R1 distilled checkpoints behind the Bedrock Converse API.
//!
//! `ARCHITECTURE.md` draws the layers; `tests/tidy.rs` holds the table of allowed edges.

pub mod api;
pub mod chat;
pub mod cli;
pub mod embed;
pub mod engine;
pub mod format;
pub mod guardrail;
pub mod hub;
pub mod keys;
pub mod limits;
pub mod model;
pub mod ops;
pub mod pipeline;
