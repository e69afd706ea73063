//! Protocols over HTTP. Wire types never leave this module.

mod access;
mod admission;
mod app;
mod audit;
mod bedrock;
mod body;
mod connection;
mod guardrail;
mod health;
mod lifecycle;
mod metrics;
mod models;
mod openai;
mod operation;
mod outcome;
mod record;
mod refusal;
mod router;
mod server;
pub mod sigv4;
mod stall;
mod tls;

pub use access::{Access, AccessOptions};
pub use app::{App, AppOptions};
pub use audit::AuditLog;
pub use models::{Alias, Models, ModelsError, PipelineSender};
pub use server::{DrainOptions, Listener, serve};
pub use tls::{Tls, TlsError, TlsFiles};

#[cfg(test)]
mod tests;
