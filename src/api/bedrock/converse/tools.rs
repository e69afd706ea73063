//! `toolConfig`: the tools that a model may call, and whether it must.

use std::collections::HashSet;

use serde_json::Value;

use crate::api::bedrock::converse::wire::{Tool, ToolChoice, ToolConfig, ToolSpec};
use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::json::{check_name, in_range, invalid, refuse};
use crate::limits;
use crate::pipeline;

/// Characters of a tool's name beside letters and digits.
pub(super) const NAME_CHARS: &str = "_-";

#[derive(Default)]
pub(super) struct Tools {
    pub(super) specs: Vec<pipeline::ToolSpec>,
    pub(super) choice: pipeline::ToolChoice,
    pub(super) has_cache_points: bool,
}

pub(super) fn parse(config: ToolConfig) -> Result<Tools, BedrockError> {
    in_range("toolConfig.tools: length", config.tools.len(), &(1..=limits::TOOLS_MAX))?;
    let mut tools = Tools::default();
    let mut names = HashSet::new();
    for (index, tool) in config.tools.into_iter().enumerate() {
        let path = format!("toolConfig.tools.{index}");
        let Tool { tool_spec, cache_point, system_tool } = tool;
        let reason = "This server has no tools of its own.";
        refuse(&format!("{path}.systemTool"), system_tool, reason)?;
        match (tool_spec, cache_point) {
            (Some(spec), None) => {
                let spec = parse_spec(spec, &format!("{path}.toolSpec"))?;
                if !names.insert(spec.name.clone()) {
                    let name = spec.name;
                    return Err(invalid(format!(
                        "`toolConfig.tools` has several tools of the name `{name}`."
                    )));
                }
                tools.specs.push(spec);
            }
            (None, Some(_)) => tools.has_cache_points = true,
            (None, None) | (Some(_), Some(_)) => {
                return Err(invalid(format!(
                    "The tool at `{path}` must set exactly one of `toolSpec` and `cachePoint`."
                )));
            }
        }
    }
    if tools.specs.is_empty() {
        return Err(invalid("`toolConfig.tools` must hold at least one `toolSpec`."));
    }
    if let Some(choice) = config.tool_choice {
        tools.choice = parse_choice(choice, &names)?;
    }
    Ok(tools)
}

fn parse_spec(spec: ToolSpec, path: &str) -> Result<pipeline::ToolSpec, BedrockError> {
    check_name(&format!("{path}.name"), &spec.name, limits::TOOL_NAME_CHARS_MAX, NAME_CHARS)?;
    if spec.description.as_ref().is_some_and(String::is_empty) {
        return Err(invalid(format!("The value at `{path}.description` is empty.")));
    }
    let parameters = spec.input_schema.json;
    let is_object = parameters.is_object()
        && parameters.get("type").is_none_or(|kind| kind == &Value::from("object"));
    if !is_object {
        return Err(invalid(format!(
            "The value at {path}.inputSchema.json.type must be one of the following: object."
        )));
    }
    Ok(pipeline::ToolSpec {
        name: spec.name,
        description: spec.description,
        parameters,
        strict: spec.strict.unwrap_or(false),
        field: format!("{path}.inputSchema.json"),
    })
}

fn parse_choice(
    choice: ToolChoice,
    names: &HashSet<String>,
) -> Result<pipeline::ToolChoice, BedrockError> {
    match (choice.auto, choice.any, choice.tool) {
        (Some(_), None, None) => Ok(pipeline::ToolChoice::Auto),
        (None, Some(_), None) => Ok(pipeline::ToolChoice::Any),
        (None, None, Some(tool)) if names.contains(&tool.name) => {
            Ok(pipeline::ToolChoice::Tool(tool.name))
        }
        (None, None, Some(_)) => Err(invalid(
            "The value at `toolConfig.toolChoice.tool.name` is not the name of a tool of \
             `toolConfig.tools`.",
        )),
        _ => Err(invalid(
            "The value at `toolConfig.toolChoice` must set exactly one of `auto`, `any` and \
             `tool`.",
        )),
    }
}
