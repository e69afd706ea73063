//! A conversation with tools as the values that a template is handed.

use minijinja::Value;
use serde_json::Value as Json;

use super::{TemplateError, TemplateInput};
use crate::chat::tools::written;
use crate::chat::{Message, Role, ToolFormat};

/// What a client wrote, taken apart once, since it may be rendered several times.
pub(super) struct Conversation<'a> {
    input: &'a TemplateInput<'a>,
    format: ToolFormat,
    /// The arguments of the calls of each message.
    arguments: Vec<Vec<Json>>,
    tools: Vec<Json>,
}

type Mark<'m> = &'m dyn Fn(&str) -> String;

impl<'a> Conversation<'a> {
    pub(super) fn new(
        input: &'a TemplateInput<'a>,
        format: ToolFormat,
    ) -> Result<Self, TemplateError> {
        let parse = |(index, message): (usize, &Message)| {
            let calls = message.tool_calls.iter().map(|call| {
                let arguments: Option<Json> = serde_json::from_str(&call.arguments).ok();
                arguments.filter(Json::is_object).ok_or_else(|| {
                    TemplateError::Refused(format!(
                        "the arguments of a tool call in message {index} are not a JSON object"
                    ))
                })
            });
            calls.collect::<Result<Vec<Json>, TemplateError>>()
        };
        let arguments = input.messages.iter().enumerate().map(parse);
        Ok(Self {
            input,
            format,
            arguments: arguments.collect::<Result<_, _>>()?,
            tools: input.tools.iter().map(written::specification).collect(),
        })
    }

    /// Every text of the client's that may be rendered.
    pub(super) fn contents(&self) -> Vec<&str> {
        let mut contents = Vec::new();
        for (message, arguments) in self.input.messages.iter().zip(&self.arguments) {
            contents.push(message.content.as_str());
            contents.extend(message.tool_call_id.as_deref());
            for call in &message.tool_calls {
                contents.extend([&*call.id, &*call.name, &*call.arguments]);
            }
            arguments.iter().for_each(|json| collect_texts(json, &mut contents));
        }
        self.tools.iter().for_each(|tool| collect_texts(tool, &mut contents));
        contents
    }

    pub(super) fn tools(&self, mark: Mark<'_>) -> Value {
        if self.tools.is_empty() || !self.format.is_known_to_template() {
            return Value::from(());
        }
        self.tools.iter().map(|tool| json_value(tool, mark)).collect()
    }

    pub(super) fn messages(&self, mark: Mark<'_>) -> Vec<Value> {
        match self.format {
            ToolFormat::Hermes => self.known_messages(mark),
            ToolFormat::Llama => self.known_messages_one_call_each(mark),
            ToolFormat::DeepSeek | ToolFormat::Written => self.written_messages(mark),
        }
    }

    fn known_messages(&self, mark: Mark<'_>) -> Vec<Value> {
        let messages = self.input.messages.iter().zip(&self.arguments);
        messages.map(|(message, arguments)| known_message(message, arguments, mark)).collect()
    }

    /// The template takes one call a turn: each further one becomes a turn with its result.
    fn known_messages_one_call_each(&self, mark: Mark<'_>) -> Vec<Value> {
        let mut values = Vec::new();
        let mut taken = vec![false; self.input.messages.len()];
        for (index, message) in self.input.messages.iter().enumerate() {
            if message.tool_calls.len() < 2 {
                if !taken[index] {
                    values.push(known_message(message, &self.arguments[index], mark));
                }
                continue;
            }
            for (call, arguments) in message.tool_calls.iter().zip(&self.arguments[index]) {
                let mut turn = Message::new(message.role, message.content.as_str());
                turn.tool_calls = vec![call.clone()];
                values.push(known_message(&turn, std::slice::from_ref(arguments), mark));
                let later = self.input.messages.iter().enumerate().skip(index + 1);
                let result = later
                    .take_while(|(_, message)| message.role == Role::Tool)
                    .find(|(_, message)| message.tool_call_id.as_ref() == Some(&call.id));
                if let Some((at, message)) = result {
                    values.push(known_message(message, &[], mark));
                    taken[at] = true;
                }
            }
        }
        values
    }

    fn written_messages(&self, mark: Mark<'_>) -> Vec<Value> {
        let mut messages: Vec<(&str, String)> = Vec::new();
        let mut results: Vec<String> = Vec::new();
        for message in self.input.messages {
            if message.role != Role::Tool && !results.is_empty() {
                messages.push(("user", written::results(self.format, &results)));
                results.clear();
            }
            let mut content = mark(&message.content);
            if !message.tool_calls.is_empty() {
                if !content.is_empty() {
                    content.push('\n');
                }
                content.push_str(&written::calls(self.format, &message.tool_calls, mark));
            }
            match message.role {
                Role::System => messages.push(("system", content)),
                Role::User => messages.push(("user", content)),
                Role::Assistant => messages.push(("assistant", content)),
                Role::Tool => results.push(content),
            }
        }
        if !results.is_empty() {
            messages.push(("user", written::results(self.format, &results)));
        }
        if !self.input.tools.is_empty() {
            let declaration = written::declaration(self.format, self.input.tools, mark);
            match messages.first_mut() {
                Some(("system", content)) => {
                    content.push_str("\n\n");
                    content.push_str(&declaration);
                }
                _ => messages.insert(0, ("system", declaration)),
            }
        }
        let value = |(role, content): &(&str, String)| {
            Value::from_pairs([("role", *role), ("content", content)])
        };
        messages.iter().map(value).collect()
    }
}

fn known_message(message: &Message, arguments: &[Json], mark: Mark<'_>) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    let mut members = vec![("role", Value::from(role)), ("content", mark(&message.content).into())];
    if let Some(id) = &message.tool_call_id {
        members.push(("tool_call_id", mark(id).into()));
    }
    if !message.tool_calls.is_empty() {
        let calls = message.tool_calls.iter().zip(arguments).map(|(call, arguments)| {
            let function = Value::from_pairs([
                ("name", mark(&call.name).into()),
                ("arguments", json_value(arguments, mark)),
            ]);
            Value::from_pairs([
                ("id", mark(&call.id).into()),
                ("type", Value::from("function")),
                ("function", function),
            ])
        });
        members.push(("tool_calls", calls.collect()));
    }
    Value::from_pairs(members)
}

fn json_value(json: &Json, mark: Mark<'_>) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => Value::from(value),
            (None, Some(value)) => Value::from(value),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::from(mark(text)),
        Json::Array(items) => items.iter().map(|item| json_value(item, mark)).collect(),
        Json::Object(members) => Value::from_pairs(
            members.iter().map(|(name, member)| (mark(name), json_value(member, mark))),
        ),
    }
}

fn collect_texts<'j>(json: &'j Json, texts: &mut Vec<&'j str>) {
    match json {
        Json::String(text) => texts.push(text),
        Json::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Json::Object(members) => {
            for (name, member) in members {
                texts.push(name);
                collect_texts(member, texts);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}
