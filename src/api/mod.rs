//! Protocols over HTTP. Wire types never leave this module.

pub mod bedrock;
