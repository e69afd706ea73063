//! A conversation and its tools, as the chat template sees them.

use std::fmt;

use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
    /// What a tool answered.
    Tool,
}

/// One message; reasoning of earlier turns has been dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub role: Role,
    pub content: String,
    /// Calls that the assistant made in this turn; empty for other roles.
    pub tool_calls: Vec<ToolCall>,
    /// The call that a message of [`Role::Tool`] answers.
    pub tool_call_id: Option<String>,
}

impl Message {
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tool_calls: Vec::new(), tool_call_id: None }
    }
}

/// Shows sizes, never text: prompts do not belong in logs.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, calls) = (self.content.len(), self.tool_calls.len());
        write!(f, "Message({:?}, {bytes} bytes, {calls} tool calls)", self.role)
    }
}

#[derive(Clone, PartialEq, Eq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    /// The JSON text of an object.
    pub arguments: String,
}

/// Shows sizes, never text.
impl fmt::Debug for ToolCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolCall({} bytes)", self.arguments.len())
    }
}

/// A tool that the model may call.
#[derive(Clone, PartialEq)]
pub struct ToolSpec {
    pub name: String,
    pub description: Option<String>,
    /// A JSON schema of the arguments.
    pub parameters: Value,
    /// The client asks for arguments that follow the schema exactly. Arguments always do, so this
    /// only decides whether a schema that cannot be enforced is refused.
    pub strict: bool,
    /// What the client calls the schema, as in `tools[2].parameters`: what errors about it name.
    pub field: String,
}

/// Shows that there is one, never its text.
impl fmt::Debug for ToolSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolSpec({} bytes of name)", self.name.len())
    }
}

/// Which tools the model must call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// At least one.
    Any,
    /// The one of this name.
    Tool(String),
    /// None, although it is told about them.
    None,
}
