//! Splits an answer into text and tool calls, as it streams.
//!
//! The grammar makes the model write calls in exactly one form, so this reads exactly that one.
//! What begins like a call and is none is text, and is remembered as malformed.

use super::form::{CallForm, ToolFormat};
use super::is_name;
use crate::limits;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolSegment {
    Text(String),
    /// A call begins.
    Start {
        name: String,
    },
    /// A piece of the JSON text of the arguments.
    Arguments(String),
    /// The call is complete.
    End,
}

#[derive(Debug)]
pub struct ToolParser {
    form: &'static CallForm,
    state: State,
    /// What cannot be understood before more has arrived.
    held: String,
    num_calls: usize,
    malformed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far.
    Start,
    Text,
    /// Up to the end of the name.
    Header,
    Arguments(JsonScanner),
    AfterArguments,
    /// After a call: another one or the end of all.
    AfterCall,
    /// What began like a call was none.
    Broken,
}

impl ToolParser {
    pub fn new(format: ToolFormat) -> Self {
        let form = format.form();
        Self { form, state: State::Start, held: String::new(), num_calls: 0, malformed: false }
    }

    /// Calls that are complete.
    pub fn num_calls(&self) -> usize {
        self.num_calls
    }

    /// Whether a call was begun and is not valid, or not complete.
    pub fn is_malformed(&self) -> bool {
        self.malformed || matches!(self.state, State::Header | State::Arguments(_))
    }

    pub fn push(&mut self, text: &str) -> Vec<ToolSegment> {
        self.held.push_str(text);
        let mut segments = Vec::new();
        while self.advance(&mut segments) {}
        segments
    }

    /// Releases what was held back.
    pub fn finish(&mut self) -> Vec<ToolSegment> {
        let held = std::mem::take(&mut self.held);
        let text = match self.state {
            State::Header => format!("{}{held}", self.form.opener),
            // The arguments are complete, or there is nothing held.
            State::Arguments(_) => held,
            State::AfterArguments => {
                self.num_calls += 1;
                return vec![ToolSegment::End];
            }
            State::AfterCall => held.trim().to_owned(),
            State::Start | State::Text | State::Broken => held,
        };
        if text.is_empty() { Vec::new() } else { vec![ToolSegment::Text(text)] }
    }

    /// One step through the held text; false if it needs more.
    fn advance(&mut self, segments: &mut Vec<ToolSegment>) -> bool {
        match self.state {
            State::Start => self.advance_start(),
            State::Text => self.advance_text(segments),
            State::Header => self.advance_header(segments),
            State::Arguments(scanner) => self.advance_arguments(scanner, segments),
            State::AfterArguments => match self.expect(self.form.after_arguments) {
                Expected::Found => {
                    segments.push(ToolSegment::End);
                    self.num_calls += 1;
                    self.state = State::AfterCall;
                    true
                }
                Expected::Missing => self.break_off(""),
                Expected::Unclear => false,
            },
            State::AfterCall => self.advance_after_call(),
            State::Broken => self.emit_text(self.held.len(), segments),
        }
    }

    fn advance_start(&mut self) -> bool {
        if !self.form.at_start {
            self.state = State::Text;
            return true;
        }
        let begun = self.held.trim_start();
        if let Some(rest) = begun.strip_prefix(self.form.opener) {
            self.held = rest.to_owned();
            self.state = State::Header;
            return true;
        }
        let unclear = self.form.opener.starts_with(begun)
            && self.held.len() - begun.len() <= limits::HELD_WHITE_SPACE_BYTES_MAX;
        if !unclear {
            self.state = State::Text;
        }
        !unclear
    }

    fn advance_text(&mut self, segments: &mut Vec<ToolSegment>) -> bool {
        if self.form.at_start {
            return self.emit_text(self.held.len(), segments);
        }
        let opener = self.form.opener;
        if let Some(start) = self.held.find(opener) {
            self.emit_text(self.held[..start].trim_end().len(), segments);
            let end = self.held.find(opener).map_or(0, |start| start + opener.len());
            self.held.drain(..end);
            self.state = State::Header;
            return true;
        }
        // White space before the opener belongs to the opener.
        let from = self.held.floor_char_boundary(self.held.len().saturating_sub(opener.len()));
        let partial = (from..self.held.len())
            .find(|&at| self.held.is_char_boundary(at) && opener.starts_with(&self.held[at..]))
            .unwrap_or(self.held.len());
        let text = self.held[..partial].trim_end().len();
        let held_blank = (partial - text).min(limits::HELD_WHITE_SPACE_BYTES_MAX);
        let end = self.held.ceil_char_boundary(partial - held_blank);
        self.emit_text(end, segments);
        false
    }

    fn advance_header(&mut self, segments: &mut Vec<ToolSegment>) -> bool {
        let (before, after) = (self.form.before_name, self.form.after_name);
        let Some(rest) = self.held.strip_prefix(before) else {
            return !before.starts_with(&self.held) && self.break_off(self.form.opener);
        };
        if let Some(end) = rest.find(after) {
            let name = rest[..end].to_owned();
            if !is_name(&name) {
                return self.break_off(self.form.opener);
            }
            self.held.drain(..before.len() + end + after.len());
            segments.push(ToolSegment::Start { name });
            self.state = State::Arguments(JsonScanner::default());
            return true;
        }
        let too_long = rest.len() > limits::TOOL_NAME_CHARS_MAX + after.len();
        too_long && self.break_off(self.form.opener)
    }

    fn advance_arguments(
        &mut self,
        mut scanner: JsonScanner,
        segments: &mut Vec<ToolSegment>,
    ) -> bool {
        let end = scanner.end_in(&self.held);
        let rest = self.held.split_off(end.unwrap_or(self.held.len()));
        let arguments = std::mem::replace(&mut self.held, rest);
        if !arguments.is_empty() {
            segments.push(ToolSegment::Arguments(arguments));
        }
        self.state = match end {
            Some(_) => State::AfterArguments,
            None => State::Arguments(scanner),
        };
        end.is_some()
    }

    fn advance_after_call(&mut self) -> bool {
        let further = self.form.between.map_or(Expected::Missing, |it| self.expect(it));
        match further {
            Expected::Found => {
                self.state = State::Header;
                return true;
            }
            Expected::Unclear => return false,
            Expected::Missing => {}
        }
        let ended = match self.form.end {
            "" => Expected::Missing,
            end => self.expect(end),
        };
        if ended == Expected::Unclear {
            return false;
        }
        self.state = if self.form.at_start { State::Broken } else { State::Text };
        true
    }

    /// Takes `text` from the beginning of what is held.
    fn expect(&mut self, text: &str) -> Expected {
        if self.held.starts_with(text) {
            self.held.drain(..text.len());
            Expected::Found
        } else if text.starts_with(&self.held) {
            Expected::Unclear
        } else {
            Expected::Missing
        }
    }

    /// What is held, with what was taken before it, is text.
    fn break_off(&mut self, taken: &str) -> bool {
        self.held.insert_str(0, taken);
        self.malformed = true;
        self.state = State::Broken;
        true
    }

    fn emit_text(&mut self, end: usize, segments: &mut Vec<ToolSegment>) -> bool {
        if end > 0 {
            let rest = self.held.split_off(end);
            let text = std::mem::replace(&mut self.held, rest);
            segments.push(ToolSegment::Text(text));
        }
        false
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Found,
    Missing,
    /// What is held is the beginning of it.
    Unclear,
}

/// Finds the end of a JSON object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct JsonScanner {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl JsonScanner {
    /// Where the object ends in `text`, which follows what was seen before.
    fn end_in(&mut self, text: &str) -> Option<usize> {
        for (index, byte) in text.bytes().enumerate() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(index + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}
