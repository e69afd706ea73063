//! Tools, calls and results as text, for templates that do not know them.
//!
//! `mark` is applied to what the client wrote, so that it stays content; the form around it is
//! scaffolding and becomes control tokens where the vocabulary has them.

use serde_json::{Value, json};

use super::form::{CallForm, ToolFormat};
use crate::chat::tokenizer::vocabulary::REASONING_TAGS;
use crate::chat::{ToolCall, ToolSpec};

/// The system's words about the tools.
pub(in crate::chat) fn declaration(
    format: ToolFormat,
    tools: &[ToolSpec],
    mark: &dyn Fn(&str) -> String,
) -> String {
    let mut text =
        "# Tools\n\nYou can call tools. Each line between <tools> and </tools> describes \
                    one of them in JSON:\n<tools>\n"
            .to_owned();
    for tool in tools {
        text.push_str(&marked_json(&specification(tool), mark).to_string());
        text.push('\n');
    }
    text.push_str("</tools>\n\nTo call a tool, write its name and its arguments like this:\n");
    text.push_str(&calls_in_form(format.form(), &[("NAME", "{\"ARGUMENT\": VALUE}")]));
    text.push_str("\n\nThe result follows in the next message. Call a tool only if it helps.");
    text
}

/// What a template that knows tools is handed for each, and what is written for the others.
pub(in crate::chat) fn specification(tool: &ToolSpec) -> Value {
    let mut function = json!({"name": tool.name});
    if let Some(description) = &tool.description {
        function["description"] = json!(description);
    }
    function["parameters"] = tool.parameters.clone();
    json!({"type": "function", "function": function})
}

/// The calls of one turn.
pub(in crate::chat) fn calls(
    format: ToolFormat,
    calls: &[ToolCall],
    mark: &dyn Fn(&str) -> String,
) -> String {
    // Templates cut what stands before this tag in a turn; in JSON the two spellings are the same.
    let [_, close] = REASONING_TAGS;
    let escaped = close.replace("</", "<\\/");
    let arguments = |call: &ToolCall| mark(&call.arguments.replace(close, &escaped));
    let marked: Vec<(String, String)> =
        calls.iter().map(|call| (mark(&call.name), arguments(call))).collect();
    let marked: Vec<(&str, &str)> =
        marked.iter().map(|(name, arguments)| (name.as_str(), arguments.as_str())).collect();
    calls_in_form(format.form(), &marked)
}

fn calls_in_form(form: &CallForm, calls: &[(&str, &str)]) -> String {
    let mut text = form.opener.to_owned();
    for (index, (name, arguments)) in calls.iter().enumerate() {
        if index > 0 {
            text.push_str(form.between.unwrap_or_default());
        }
        for part in [form.before_name, name, form.after_name, arguments, form.after_arguments] {
            text.push_str(part);
        }
    }
    text.push_str(form.end);
    text
}

/// The results that follow one turn, as a message of the user.
pub(in crate::chat) fn results(format: ToolFormat, results: &[String]) -> String {
    let (begin, between, end) = match format {
        ToolFormat::DeepSeek => (
            "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>",
            "<｜tool▁output▁end｜>\n<｜tool▁output▁begin｜>",
            "<｜tool▁output▁end｜><｜tool▁outputs▁end｜>",
        ),
        ToolFormat::Hermes | ToolFormat::Llama | ToolFormat::Written => {
            ("<tool_response>\n", "\n</tool_response>\n<tool_response>\n", "\n</tool_response>")
        }
    };
    format!("{begin}{}{end}", results.join(between))
}

/// The same JSON with each text and name marked.
pub(in crate::chat) fn marked_json(value: &Value, mark: &dyn Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(mark(text)),
        Value::Array(items) => items.iter().map(|item| marked_json(item, mark)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (mark(name), marked_json(member, mark)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}
