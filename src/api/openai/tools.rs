//! Tools and the choice among them, of both APIs.

use serde_json::{Value, json};

use crate::api::openai::error::OpenAiError;
use crate::api::openai::fields::in_range;
use crate::api::openai::wire::Function;
use crate::limits;
use crate::pipeline::{ToolCall, ToolChoice, ToolSpec};

/// The tools that the model is shown and how it is to choose.
#[derive(Default)]
pub(super) struct Tools {
    pub(super) specs: Vec<ToolSpec>,
    pub(super) choice: ToolChoice,
}

pub(super) fn spec(function: Function, at: &str) -> Result<ToolSpec, OpenAiError> {
    let name = &function.name;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let max = limits::TOOL_NAME_CHARS_MAX;
    if name.is_empty() || name.len() > max || !name.chars().all(is_name) {
        let param = format!("{at}.name");
        let message = format!(
            "Invalid value for `{param}`: it must have 1 to {max} letters, digits, `_` and `-`."
        );
        return Err(OpenAiError::invalid(param, message));
    }
    let parameters =
        function.parameters.unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
    let field = format!("{at}.parameters");
    if !parameters.is_object() {
        let message = format!("Invalid value for `{field}`: it must be a JSON schema, an object.");
        return Err(OpenAiError::invalid(field, message));
    }
    Ok(ToolSpec {
        name: function.name,
        description: function.description,
        parameters,
        strict: function.strict == Some(true),
        field,
    })
}

/// The arguments of an earlier call, which the chat template takes apart.
pub(super) fn call(
    id: String,
    name: String,
    arguments: String,
    at: &str,
) -> Result<ToolCall, OpenAiError> {
    // Some clients send nothing for a function without parameters.
    let arguments = if arguments.trim().is_empty() { "{}".to_owned() } else { arguments };
    let is_object = matches!(serde_json::from_str::<Value>(&arguments), Ok(Value::Object(_)));
    if !is_object {
        let param = format!("{at}.arguments");
        let message = format!("Invalid value for `{param}`: it must be the text of a JSON object.");
        return Err(OpenAiError::invalid(param, message));
    }
    Ok(ToolCall { id, name, arguments })
}

impl Tools {
    /// `choice` is a word, or an object whose type says which. Chat completions name a function
    /// one level deeper than responses do; each form is taken from both.
    pub(super) fn new(specs: Vec<ToolSpec>, choice: Option<Value>) -> Result<Self, OpenAiError> {
        in_range("tools: length", specs.len(), &(0..=limits::TOOLS_MAX))?;
        for (index, spec) in specs.iter().enumerate() {
            if specs[..index].iter().any(|earlier| earlier.name == spec.name) {
                let message = format!("Two tools have the name `{}`.", spec.name);
                return Err(OpenAiError::invalid(format!("tools[{index}]"), message));
            }
        }
        let mut tools = Self { specs, choice: ToolChoice::Auto };
        tools.choice = match choice {
            None => ToolChoice::Auto,
            Some(Value::String(mode)) => tools.mode(&mode)?,
            Some(choice) => match choice["type"].as_str() {
                Some("function") => {
                    let name = function_name(&choice)
                        .ok_or_else(|| OpenAiError::missing("tool_choice.function.name"))?;
                    tools.require(name)?;
                    ToolChoice::Tool(name.to_owned())
                }
                Some("allowed_tools") => tools.allow(&choice)?,
                Some(other) => {
                    let reason = format!("there is no tool of the type `{other}`.");
                    return Err(OpenAiError::unsupported("tool_choice.type", &reason));
                }
                None => return Err(OpenAiError::missing("tool_choice.type")),
            },
        };
        Ok(tools)
    }

    fn mode(&self, mode: &str) -> Result<ToolChoice, OpenAiError> {
        match mode {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" if self.specs.is_empty() => Err(OpenAiError::invalid(
                "tool_choice",
                "`tool_choice` is `required`, but there are no `tools`.",
            )),
            "required" => Ok(ToolChoice::Any),
            other => {
                let message = format!("Invalid value for `tool_choice`: `{other}`.");
                Err(OpenAiError::invalid("tool_choice", message))
            }
        }
    }

    /// Hides the tools that are not allowed, which is what "allowed" means to a model.
    fn allow(&mut self, choice: &Value) -> Result<ToolChoice, OpenAiError> {
        let inner = choice.get("allowed_tools").unwrap_or(choice);
        let allowed = inner["tools"]
            .as_array()
            .ok_or_else(|| OpenAiError::missing("tool_choice.allowed_tools.tools"))?;
        let mut names = Vec::new();
        for tool in allowed {
            let name = function_name(tool).ok_or_else(|| {
                OpenAiError::unsupported(
                    "tool_choice.allowed_tools.tools",
                    "tools are functions, each with its name.",
                )
            })?;
            self.require(name)?;
            names.push(name);
        }
        self.specs.retain(|spec| names.contains(&spec.name.as_str()));
        self.mode(inner["mode"].as_str().unwrap_or("auto"))
    }

    fn require(&self, name: &str) -> Result<(), OpenAiError> {
        if self.specs.iter().any(|spec| spec.name == name) {
            return Ok(());
        }
        let message =
            format!("`tool_choice` names the function `{name}`, which is not in `tools`.");
        Err(OpenAiError::invalid("tool_choice", message))
    }
}

fn function_name(value: &Value) -> Option<&str> {
    value["function"]["name"].as_str().or_else(|| value["name"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(names: &[&str]) -> Vec<ToolSpec> {
        let function = |name: &&str| Function {
            name: (*name).to_owned(),
            description: None,
            parameters: None,
            strict: None,
        };
        names.iter().map(|name| spec(function(name), "tools[0]").unwrap()).collect()
    }

    fn choose(choice: Value) -> Option<(usize, ToolChoice)> {
        let tools = Tools::new(specs(&["a", "b"]), Some(choice)).ok()?;
        Some((tools.specs.len(), tools.choice))
    }

    #[test]
    fn both_apis_name_a_function() {
        let a = Some((2, ToolChoice::Tool("a".to_owned())));
        assert_eq!(choose(json!({ "type": "function", "function": { "name": "a" } })), a);
        assert_eq!(choose(json!({ "type": "function", "name": "a" })), a);
        assert_eq!(choose(json!({ "type": "function", "name": "c" })), None);
        assert_eq!(choose(json!("required")), Some((2, ToolChoice::Any)));
        assert_eq!(choose(json!("none")), Some((2, ToolChoice::None)));
        assert_eq!(choose(json!({ "type": "web_search" })), None);
    }

    #[test]
    fn tools_that_are_not_allowed_are_not_shown() {
        let function = json!({ "type": "function", "function": { "name": "b" } });
        let nested = json!({ "type": "allowed_tools",
            "allowed_tools": { "mode": "required", "tools": [function] } });
        assert_eq!(choose(nested), Some((1, ToolChoice::Any)));
        let flat = json!({ "type": "allowed_tools", "mode": "auto",
            "tools": [{ "type": "function", "name": "b" }] });
        assert_eq!(choose(flat), Some((1, ToolChoice::Auto)));
    }

    #[test]
    fn arguments_are_the_text_of_an_object() {
        let parse = |text: &str| {
            call("c".to_owned(), "f".to_owned(), text.to_owned(), "at").map(|it| it.arguments).ok()
        };
        assert_eq!(parse(r#"{"a": 1}"#).as_deref(), Some(r#"{"a": 1}"#));
        assert_eq!(parse("").as_deref(), Some("{}"));
        assert_eq!(parse("[]"), None);
        assert_eq!(parse("{"), None);
    }
}
