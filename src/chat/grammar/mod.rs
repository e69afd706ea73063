//! What an answer must look like, as a grammar over tokens.
//!
//! llguidance compiles JSON schemas, regular expressions and Lark grammars, and says before each
//! token which ones may follow. Here is what it is not asked to do: limits on what is compiled and
//! on what a step may cost, a bounded cache, and the way to a valid end when the room for an answer
//! runs out ([`GrammarMatcher::accept`]).

mod compiler;
mod matcher;
mod schema;
#[cfg(test)]
mod tests;

use serde_json::Value;
use thiserror::Error;

pub use compiler::GrammarCompiler;
pub use matcher::{GrammarMatcher, MatchError};
pub(in crate::chat) use schema::prepared;

/// Where a grammar comes from.
#[derive(Clone, PartialEq)]
pub enum GrammarSource {
    JsonObject,
    JsonSchema(Value),
    /// The whole text matches.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// llguidance's dialect of Lark.
    Lark(String),
}

/// Why a grammar is not used. Says what the client wrote, never what was generated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GrammarError {
    #[error("{what} has {bytes} bytes, with a limit of {limit}")]
    TooLarge { what: &'static str, bytes: usize, limit: usize },
    #[error("{what} is nested {depth} levels deep, with a limit of {limit}")]
    TooDeep { what: &'static str, depth: usize, limit: usize },
    #[error("{what} has {count} entries, with a limit of {limit}")]
    TooMany { what: &'static str, count: usize, limit: usize },
    #[error("{what} cannot be used: {reason}")]
    Invalid { what: &'static str, reason: String },
    #[error("{what} is too complex: it was not compiled within its limits")]
    TooComplex { what: &'static str },
    /// Other requests' grammars are being compiled; this one can be tried again.
    #[error("too many grammars are waiting to be compiled")]
    Busy,
}
