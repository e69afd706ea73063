//! Tells content from scaffolding in what a template renders.
//!
//! Content can hold anything, the spelling of control tokens included. So each character with which
//! a control token begins or ends is replaced in the content by a private stand-in before the
//! template runs: no control token can then be found in content, or reach into it from the
//! scaffolding, and undoing the replacement gives the text that the unchanged content renders to.
//!
//! That holds as long as the template does not look into the content. Some do: R1's cuts earlier
//! answers after `</think>`. Then the control tokens that it looks for are left as they are in the
//! content, as few as give the right text, and these tokens are text everywhere in this prompt.

use std::{borrow::Cow, collections::HashSet, ops::RangeInclusive};

use super::TemplateError;
use crate::limits;

/// Characters that Unicode assigns to nobody, from which stand-ins are taken.
const PRIVATE: RangeInclusive<char> = '\u{f0000}'..='\u{ffffd}';

/// A rendered template that remembers which parts are content.
#[derive(Clone)]
pub struct Prompt {
    /// The text with stand-ins in its content.
    marked: String,
    stand_ins: Vec<StandIn>,
    /// Control tokens that stayed in the content unmarked.
    plain: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct StandIn {
    original: char,
    stand_in: char,
}

/// Shows sizes, never text: prompts do not belong in logs.
impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prompt({} bytes)", self.marked.len())
    }
}

impl Prompt {
    /// A text in which the spelling of a control token is a control token.
    pub fn raw(text: String) -> Self {
        Self { marked: text, stand_ins: Vec::new(), plain: Vec::new() }
    }

    /// Exactly what Jinja2 would have rendered.
    pub fn text(&self) -> String {
        self.unmark(&self.marked).into_owned()
    }

    /// The scaffolding ends by opening the reasoning part.
    pub fn ends_with_open_tag(&self, tag: &str) -> bool {
        self.marked.trim_end().ends_with(tag) && !self.holds_as_content(tag)
    }

    /// The text with stand-ins in its content.
    pub(in crate::chat) fn marked(&self) -> &str {
        &self.marked
    }

    /// A part of the marked text as it was meant.
    pub(in crate::chat) fn unmark<'t>(&self, marked: &'t str) -> Cow<'t, str> {
        unmark(&self.stand_ins, marked)
    }

    /// Where the marked text spells `token`, that may be content.
    pub(in crate::chat) fn holds_as_content(&self, token: &str) -> bool {
        self.plain.iter().any(|plain| plain == token)
    }
}

/// The characters with which control tokens begin or end.
pub(super) fn edge_characters(special_tokens: &[String]) -> Vec<char> {
    let mut edges: Vec<char> = special_tokens
        .iter()
        .flat_map(|token| [token.chars().next(), token.chars().next_back()])
        .flatten()
        .collect();
    edges.sort_unstable();
    edges.dedup();
    edges
}

pub(super) struct Marking<'a> {
    contents: &'a [&'a str],
    special_tokens: &'a [String],
    /// `None`: the content uses every private character there is.
    stand_ins: Option<Vec<StandIn>>,
}

impl<'a> Marking<'a> {
    pub(super) fn new(
        edge_characters: &[char],
        special_tokens: &'a [String],
        contents: &'a [&'a str],
    ) -> Self {
        let used: HashSet<char> = contents
            .iter()
            .flat_map(|content| content.chars())
            .filter(|character| PRIVATE.contains(character) || edge_characters.contains(character))
            .collect();
        let mut unused = PRIVATE.filter(|character| !used.contains(character));
        let stand_ins = edge_characters
            .iter()
            .filter(|edge| used.contains(edge))
            .map(|&original| unused.next().map(|stand_in| StandIn { original, stand_in }))
            .collect();
        Self { contents, special_tokens, stand_ins }
    }

    /// `text` is what the contents render to; `render` renders them as the function that it is
    /// given changes them.
    pub(super) fn apply(
        self,
        text: String,
        render: impl Fn(&dyn Fn(&str) -> String) -> Result<String, TemplateError>,
    ) -> Result<Prompt, TemplateError> {
        let Some(stand_ins) = &self.stand_ins else { return self.unmarked(text) };
        if stand_ins.is_empty() {
            return Ok(Prompt { marked: text, stand_ins: Vec::new(), plain: Vec::new() });
        }
        // Where the template goes another way, or nowhere, it has looked at a stand-in.
        let attempt = |plain: &[&str]| {
            let rendered = render(&|content: &str| mark(stand_ins, plain, content));
            rendered.ok().filter(|marked| unmark(stand_ins, marked) == text)
        };
        let mut plain = Vec::new();
        let mut marked = attempt(&plain);
        if marked.is_none() {
            plain = self.tokens_in_content();
            marked = attempt(&plain);
            for token in plain.clone().into_iter().take(limits::MARKING_ATTEMPTS_MAX) {
                if marked.is_none() {
                    break;
                }
                let fewer: Vec<&str> =
                    plain.iter().copied().filter(|&other| other != token).collect();
                if let Some(with_fewer) = attempt(&fewer) {
                    (plain, marked) = (fewer, Some(with_fewer));
                }
            }
        }
        match marked {
            Some(marked) => {
                let plain = plain.into_iter().map(str::to_owned).collect();
                Ok(Prompt { marked, stand_ins: stand_ins.clone(), plain })
            }
            None => self.unmarked(text),
        }
    }

    /// Without marks content is safe when no control token can reach into it.
    fn unmarked(&self, text: String) -> Result<Prompt, TemplateError> {
        let reaches_into = |content: &str, token: &str| {
            token.char_indices().skip(1).any(|(cut, _)| {
                content.ends_with(&token[..cut]) || content.starts_with(&token[cut..])
            })
        };
        for token in self.special_tokens {
            if self.contents.iter().any(|content| reaches_into(content, token)) {
                let reason = "it reads the text of messages in a way that does not allow to tell \
                              their text from control tokens";
                return Err(TemplateError::Refused(reason.to_owned()));
            }
        }
        let plain = self.tokens_in_content().into_iter().map(str::to_owned).collect();
        Ok(Prompt { marked: text, stand_ins: Vec::new(), plain })
    }

    fn tokens_in_content(&self) -> Vec<&'a str> {
        let tokens = self.special_tokens.iter().map(String::as_str);
        tokens.filter(|token| self.contents.iter().any(|content| content.contains(token))).collect()
    }
}

fn mark(stand_ins: &[StandIn], plain: &[&str], content: &str) -> String {
    let mut marked = String::with_capacity(content.len());
    let mut rest = content;
    while let Some(character) = rest.chars().next() {
        let stand_in = stand_ins.iter().find(|known| known.original == character);
        let token = plain.iter().find(|token| rest.starts_with(**token));
        let taken = match (stand_in, token) {
            (Some(_), Some(token)) => {
                marked.push_str(token);
                token.len()
            }
            (Some(known), None) => {
                marked.push(known.stand_in);
                character.len_utf8()
            }
            (None, _) => {
                marked.push(character);
                character.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    marked
}

fn unmark<'t>(stand_ins: &[StandIn], marked: &'t str) -> Cow<'t, str> {
    if stand_ins.is_empty() {
        return Cow::Borrowed(marked);
    }
    let original = |character| {
        let known = stand_ins.iter().find(|known| known.stand_in == character);
        known.map_or(character, |known| known.original)
    };
    Cow::Owned(marked.chars().map(original).collect())
}
