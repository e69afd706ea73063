//! The grammar of an answer that calls tools.

use serde_json::{Value, json};

use super::form::ToolFormat;
use crate::chat::grammar::prepared;
use crate::chat::{GrammarError, GrammarSource, ToolSpec};
use crate::limits;

/// What an answer may be beside calls.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerBeside {
    /// Nothing: the answer begins with the opener.
    Nothing,
    /// The opener was written already.
    Opened,
    /// Or it is JSON of this schema.
    Json(Value),
}

/// Calls of `tools`, `num_calls_max` at most.
pub fn call_grammar(
    format: ToolFormat,
    tools: &[&ToolSpec],
    num_calls_max: usize,
    beside: &AnswerBeside,
) -> Result<GrammarSource, GrammarError> {
    let form = format.form();
    let mut start = Vec::new();
    if *beside != AnswerBeside::Opened {
        start.push(quoted(form.opener));
    }
    start.push("call".to_owned());
    if let Some(between) = form.between.filter(|_| num_calls_max > 1) {
        start.push(format!("({} call){{0,{}}}", quoted(between), num_calls_max - 1));
    }
    if !form.end.is_empty() {
        start.push(quoted(form.end));
    }
    let mut rules = match beside {
        AnswerBeside::Json(_) => vec!["start: calls | answer".to_owned()],
        AnswerBeside::Nothing | AnswerBeside::Opened => vec!["start: calls".to_owned()],
    };
    rules.push(format!("calls: {}", start.join(" ")));
    let names: Vec<String> = (0..tools.len()).map(|index| format!("call_{index}")).collect();
    rules.push(format!("call: {}", names.join(" | ")));
    for (index, tool) in tools.iter().enumerate() {
        let before = quoted(&format!("{}{}{}", form.before_name, tool.name, form.after_name));
        let after = quoted(form.after_arguments);
        rules.push(format!("call_{index}: {before} arguments_{index} {after}"));
        rules.push(format!("arguments_{index}: %json {}", arguments(tool)?));
    }
    if let AnswerBeside::Json(schema) = beside {
        rules.push(format!("answer: %json {}", prepared(schema.clone())?));
    }
    let source = rules.join("\n");
    let (bytes, limit) = (source.len(), limits::GRAMMAR_BYTES_MAX);
    if bytes > limit {
        return Err(GrammarError::TooLarge { what: "the tools' schemas together", bytes, limit });
    }
    Ok(GrammarSource::Lark(source))
}

/// Arguments are an object, whatever else the schema says.
fn arguments(tool: &ToolSpec) -> Result<Value, GrammarError> {
    let mut schema = tool.parameters.clone();
    if let Value::Object(members) = &mut schema {
        let says_type = ["type", "$ref", "allOf", "anyOf", "oneOf", "const", "enum"];
        if !says_type.iter().any(|key| members.contains_key(*key)) {
            members.insert("type".to_owned(), json!("object"));
        }
    }
    prepared(schema)
}

/// As Lark writes text: like JSON.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
