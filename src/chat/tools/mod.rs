//! How a model is told about tools, and how it calls them.

use thiserror::Error;

/// Why a request's tools are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ToolError {
    #[error("there are {count} tools, with a limit of {limit}")]
    TooMany { count: usize, limit: usize },
    #[error("two tools have the name `{name}`")]
    Repeated { name: String },
    #[error("the name of tool {index} is not 1 to {limit} characters of `a-zA-Z0-9_-`")]
    Name { index: usize, limit: usize },
    #[error("the tool choice names `{name}`, which is not among the tools")]
    UnknownChoice { name: String },
    #[error("a tool call is asked for, but there are no tools")]
    NoTools,
    #[error("the arguments of a tool call in message {message} are not a JSON object")]
    Arguments { message: usize },
    #[error("tools cannot be combined with {with}")]
    Combined { with: &'static str },
}
