//! What an answer must look like, as a grammar over tokens.

use thiserror::Error;

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
