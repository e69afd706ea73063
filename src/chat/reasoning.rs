//! Splits a stream of text into reasoning and answer.

use crate::chat::ReasoningTags;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    Reasoning(String),
    Text(String),
}

#[derive(Debug)]
pub struct ReasoningParser {}

impl ReasoningParser {
    /// `starts_open`: the prompt ended by opening the reasoning part. `tags == None`: all is text.
    pub fn new(tags: Option<&ReasoningTags>, starts_open: bool) -> Self {
        let _ = (tags, starts_open);
        unimplemented!()
    }

    pub fn push(&mut self, text: &str) -> Vec<Segment> {
        let _ = text;
        unimplemented!()
    }

    pub fn finish(&mut self) -> Vec<Segment> {
        unimplemented!()
    }
}
