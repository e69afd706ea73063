//! Chat templates: Jinja2 as Hugging Face writes it, rendered under limits.
//!
//! A template comes with a checkpoint and is a program of a stranger. It runs on fuel that also
//! pays for the data it makes, so it ends soon and stays small whatever it does; it sees messages
//! and nothing else.
//!
//! What it renders is one string, in which content must not pass for the template's scaffolding.
//! [`marking`] says how the two are told apart.

mod clock;
mod conversation;
mod marking;
mod python;

use minijinja::{Environment, ErrorKind, Value};
use thiserror::Error;

use crate::chat::{Message, Tokenizer, ToolFormat, ToolSpec};
use crate::limits;
use conversation::Conversation;
pub use marking::Prompt;
use marking::{Marking, edge_characters};
use python::Refusal;

/// The name under which the environment holds the one template.
const NAME: &str = "chat_template";

#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: Option<String>,
    eos_token: Option<String>,
    special_tokens: Vec<String>,
    edge_characters: Vec<char>,
    tool_format: ToolFormat,
}

#[derive(Debug, Clone)]
pub struct TemplateInput<'a> {
    /// A system message, if any, comes first.
    pub messages: &'a [Message],
    pub tools: &'a [ToolSpec],
    pub add_generation_prompt: bool,
}

#[derive(Debug, Error)]
pub enum TemplateError {
    #[error("the chat template is not valid: {0}")]
    Invalid(String),
    #[error("the chat template refuses these messages: {0}")]
    Refused(String),
    #[error("the chat template was stopped: {0}")]
    Runaway(String),
}

impl ChatTemplate {
    /// `bos_token` and `eos_token` are what the template knows under these names.
    pub fn new(
        source: &str,
        tokenizer: &Tokenizer,
        bos_token: Option<String>,
        eos_token: Option<String>,
    ) -> Result<Self, TemplateError> {
        let (bytes, limit) = (source.len(), limits::TEMPLATE_BYTES_MAX);
        if bytes > limit {
            let reason = format!("it has {bytes} bytes, with a limit of {limit}");
            return Err(TemplateError::Invalid(reason));
        }
        let mut environment = python::environment();
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| TemplateError::Invalid(error.to_string()))?;
        let special_tokens: Vec<String> = tokenizer.special_tokens().map(str::to_owned).collect();
        let edge_characters = edge_characters(&special_tokens);
        let tool_format = ToolFormat::of_template(source);
        Ok(Self { environment, bos_token, eos_token, special_tokens, edge_characters, tool_format })
    }

    /// How the model is told about tools and calls them.
    pub fn tool_format(&self) -> ToolFormat {
        self.tool_format
    }

    /// Text as Jinja2 would have rendered it, with content told apart from scaffolding.
    pub fn render(&self, input: &TemplateInput<'_>) -> Result<Prompt, TemplateError> {
        let conversation = Conversation::new(input, self.tool_format)?;
        let contents = conversation.contents();
        let render = |mark: &dyn Fn(&str) -> String| {
            let add_generation_prompt = input.add_generation_prompt;
            self.render_text(&conversation, &contents, add_generation_prompt, mark)
        };
        let text = render(&str::to_owned)?;
        Marking::new(&self.edge_characters, &self.special_tokens, &contents).apply(text, render)
    }

    fn render_text(
        &self,
        conversation: &Conversation<'_>,
        contents: &[&str],
        add_generation_prompt: bool,
        mark: &dyn Fn(&str) -> String,
    ) -> Result<String, TemplateError> {
        let mut context = vec![
            ("messages", conversation.messages(mark).into()),
            ("tools", conversation.tools(mark)),
            ("documents", Value::from(())),
            ("add_generation_prompt", add_generation_prompt.into()),
        ];
        // A token that the checkpoint does not have is undefined, not none.
        for (name, token) in [("bos_token", &self.bos_token), ("eos_token", &self.eos_token)] {
            context.extend(token.as_ref().map(|token| (name, Value::from(token.as_str()))));
        }
        // Fuel belongs to the environment, whose parts are shared between copies.
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel(contents)));
        let template = environment.get_template(NAME).map_err(template_error)?;
        let rendered = template.render(Value::from_pairs(context)).map_err(template_error)?;
        let (bytes, limit) = (rendered.len(), output_bytes_max(contents));
        if bytes > limit {
            let reason = format!("it wrote {bytes} bytes, with a limit of {limit}");
            return Err(TemplateError::Runaway(reason));
        }
        Ok(rendered)
    }
}

/// The budget grows with the conversation, since honest work does.
fn fuel(contents: &[&str]) -> u64 {
    let bytes: usize = contents.iter().map(|content| content.len()).sum();
    let messages = limits::TEMPLATE_FUEL_PER_MESSAGE.saturating_mul(contents.len() as u64);
    let copies = bytes as u64 / limits::TEMPLATE_CONTENT_BYTES_PER_FUEL;
    limits::TEMPLATE_FUEL_BASE.saturating_add(messages).saturating_add(copies)
}

fn output_bytes_max(contents: &[&str]) -> usize {
    let bytes: usize = contents.iter().map(|content| content.len()).sum();
    let messages = contents.len().saturating_mul(limits::TEMPLATE_OUTPUT_BYTES_PER_MESSAGE_MAX);
    limits::TEMPLATE_OUTPUT_BYTES_BASE.saturating_add(messages).saturating_add(2 * bytes)
}

fn template_error(error: minijinja::Error) -> TemplateError {
    let mut source: Option<&dyn std::error::Error> = Some(&error);
    while let Some(cause) = source {
        if let Some(Refusal(message)) = cause.downcast_ref() {
            return TemplateError::Refused(message.clone());
        }
        source = cause.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => {
            TemplateError::Runaway("it does more work than these messages can need".to_owned())
        }
        _ => TemplateError::Invalid(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
