//! Chat templates: Jinja2 as Hugging Face writes it, rendered under limits.

use thiserror::Error;

use crate::chat::Message;

#[derive(Debug)]
pub struct ChatTemplate {}

#[derive(Debug, Clone)]
pub struct TemplateInput<'a> {
    /// A system message, if any, comes first.
    pub messages: &'a [Message],
    pub add_generation_prompt: bool,
}

#[derive(Debug, Error)]
pub enum TemplateError {
    #[error("the chat template is not valid: {0}")]
    Invalid(String),
    #[error("the chat template refuses these messages: {0}")]
    Refused(String),
}

/// A rendered template that remembers which parts are content.
#[derive(Clone)]
pub struct Prompt {}

impl Prompt {
    /// Exactly what Jinja2 would have rendered.
    pub fn text(&self) -> String {
        unimplemented!()
    }

    /// The scaffolding ends by opening the reasoning part.
    pub fn ends_with_open_tag(&self, tag: &str) -> bool {
        let _ = tag;
        unimplemented!()
    }
}

impl ChatTemplate {
    pub fn render(&self, input: &TemplateInput<'_>) -> Result<Prompt, TemplateError> {
        let _ = input;
        unimplemented!()
    }
}
