//! A request's input as token ids.

use std::borrow::Cow;

use crate::chat::{Prompt, TemplateInput, TextAssets, ToolSpec};
use crate::pipeline::{Input, PipelineError};

/// DeepSeek's control tokens, and how clients spell them that have them from a page which did not
/// show their characters.
const ASCII_SPELLINGS: [(&str, &str); 4] = [
    ("<|begin_of_sentence|>", "<｜begin▁of▁sentence｜>"),
    ("<|end_of_sentence|>", "<｜end▁of▁sentence｜>"),
    ("<|User|>", "<｜User｜>"),
    ("<|Assistant|>", "<｜Assistant｜>"),
];

pub(super) struct Encoded {
    pub(super) ids: Vec<u32>,
    /// The prompt ended by opening the reasoning part, or within it.
    pub(super) reasoning_open: bool,
}

pub(super) fn encode(
    text: &TextAssets,
    input: &Input,
    tools: &[ToolSpec],
) -> Result<Encoded, PipelineError> {
    match input {
        Input::Messages(messages) => {
            let template = text.template.as_ref().ok_or(PipelineError::NoTemplate)?;
            let input = TemplateInput { messages, tools, add_generation_prompt: true };
            let rendered = template.render(&input)?;
            let tags = text.reasoning.as_ref();
            let reasoning_open = tags.is_some_and(|tags| rendered.ends_with_open_tag(&tags.open));
            Ok(Encoded { ids: text.tokenizer.encode_prompt(&rendered)?, reasoning_open })
        }
        Input::Text(prompt) => {
            let prompt = with_real_tokens(text, prompt);
            let reasoning_open = text.reasoning.as_ref().is_some_and(|tags| {
                let opened = prompt.rfind(&tags.open);
                opened.is_some() && opened > prompt.rfind(&tags.close)
            });
            let prompt = Prompt::raw(prompt.into_owned());
            Ok(Encoded { ids: text.tokenizer.encode_prompt(&prompt)?, reasoning_open })
        }
    }
}

/// The prompt with the vocabulary's own spelling of control tokens, and without white space before
/// the token that begins it.
fn with_real_tokens<'p>(text: &TextAssets, prompt: &'p str) -> Cow<'p, str> {
    let mut prompt = Cow::Borrowed(prompt);
    for (ascii, token) in ASCII_SPELLINGS {
        let known = text.tokenizer.id_of(token).is_some() && text.tokenizer.id_of(ascii).is_none();
        if known && prompt.contains(ascii) {
            prompt = Cow::Owned(prompt.replace(ascii, token));
        }
    }
    let begun = prompt.trim_start();
    let begins = |(_, token): &(&str, &str)| begun.starts_with(token);
    match ASCII_SPELLINGS.first().is_some_and(begins) {
        true => Cow::Owned(begun.to_owned()),
        false => prompt,
    }
}
