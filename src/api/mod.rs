//! Protocols over HTTP. Wire types never leave this module.

mod app;
mod bedrock;
mod body;
mod connection;
mod health;
mod lifecycle;
mod metrics;
mod models;
mod openai;
mod record;
mod refusal;
mod server;
pub mod sigv4;
mod stall;

pub use app::{App, AppOptions};
pub use models::{Alias, Models, ModelsError, PipelineSender};
pub use server::{DrainOptions, serve};

#[cfg(test)]
mod tests;
