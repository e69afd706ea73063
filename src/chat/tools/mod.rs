//! How a model is told about tools, and how it calls them.
//!
//! Every family of models has its own form of a call, its [`ToolFormat`]. Templates of some
//! families know tools and are handed them; for the others, tools, calls and results are written
//! into the texts of the conversation ([`written`]). Either way the form of a call is enforced by a
//! grammar from its first character on, and read back by [`ToolParser`].

mod form;
mod grammar;
mod parser;
#[cfg(test)]
mod tests;
mod watch;
pub(in crate::chat) mod written;

use thiserror::Error;

use crate::chat::{ToolChoice, ToolSpec};
use crate::limits;

pub use form::ToolFormat;
pub use grammar::{AnswerBeside, call_grammar};
pub use parser::{ToolParser, ToolSegment};
pub use watch::CallWatch;

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
    #[error("tools cannot be combined with {with}")]
    Combined { with: &'static str },
}

/// Refuses tools that cannot be told apart or named in a grammar, and a choice of none of them.
pub fn check_tools(tools: &[ToolSpec], choice: &ToolChoice) -> Result<(), ToolError> {
    let (count, limit) = (tools.len(), limits::TOOLS_MAX);
    if count > limit {
        return Err(ToolError::TooMany { count, limit });
    }
    for (index, tool) in tools.iter().enumerate() {
        if !is_name(&tool.name) {
            return Err(ToolError::Name { index, limit: limits::TOOL_NAME_CHARS_MAX });
        }
        if tools[..index].iter().any(|other| other.name == tool.name) {
            return Err(ToolError::Repeated { name: tool.name.clone() });
        }
    }
    match choice {
        ToolChoice::Any | ToolChoice::Tool(_) if tools.is_empty() => Err(ToolError::NoTools),
        ToolChoice::Tool(name) if tools.iter().all(|tool| tool.name != *name) => {
            Err(ToolError::UnknownChoice { name: name.clone() })
        }
        ToolChoice::Auto | ToolChoice::Any | ToolChoice::Tool(_) | ToolChoice::None => Ok(()),
    }
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=limits::TOOL_NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(is_part)
}
