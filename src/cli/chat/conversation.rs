//! A conversation: turns with history, line editing and a few commands.

use anyhow::Context;
use rustyline::{DefaultEditor, error::ReadlineError};
use tokio::runtime::Runtime;

use crate::chat::{Message, Role};
use crate::cli::{
    Ended,
    chat::{Session, system_message},
};

const HELP: &str = "\
/help            this text
/reset           forget the conversation, keep the system prompt
/system [TEXT]   set the system prompt (or remove it) and forget the conversation
/exit            leave; Ctrl-D does it too
A line that ends with \\ goes on in the next one. Ctrl-C ends an answer, not the program.";

/// What a line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Input<'a> {
    Nothing,
    Help,
    Reset,
    System(Option<&'a str>),
    Exit,
    Unknown(&'a str),
    Say(&'a str),
}

impl<'a> Input<'a> {
    fn parse(text: &'a str) -> Self {
        let text = text.trim();
        if !text.starts_with('/') {
            return if text.is_empty() { Self::Nothing } else { Self::Say(text) };
        }
        let (command, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        match command {
            "/help" | "/?" => Self::Help,
            "/reset" => Self::Reset,
            "/system" => Self::System(Some(rest.trim()).filter(|rest| !rest.is_empty())),
            "/exit" | "/quit" => Self::Exit,
            other => Self::Unknown(other),
        }
    }
}

/// History is kept for the session only: what people ask is nobody else's business.
pub(super) fn run(
    session: &mut Session,
    runtime: &Runtime,
    system: Option<String>,
) -> anyhow::Result<()> {
    let mut editor = DefaultEditor::new().context("cannot edit lines on this terminal")?;
    let mut messages = system_message(system);
    note("/help shows the commands.");
    while let Some(text) = read(&mut editor)? {
        match Input::parse(&text) {
            Input::Nothing => {}
            Input::Help => note(HELP),
            Input::Reset => messages.retain(|message| message.role == Role::System),
            Input::System(system) => messages = system_message(system.map(str::to_owned)),
            Input::Exit => break,
            Input::Unknown(command) => note(&format!("{command} is no command; /help lists them.")),
            Input::Say(text) => {
                editor.add_history_entry(text)?;
                turn(session, runtime, &mut messages, text);
            }
        }
    }
    Ok(())
}

/// Adds question and answer to the history. A turn that brought nothing leaves none of the two, so
/// that user and assistant go on taking turns.
fn turn(session: &mut Session, runtime: &Runtime, messages: &mut Vec<Message>, text: &str) {
    messages.push(Message::new(Role::User, text));
    match runtime.block_on(session.answer(messages.clone())) {
        Ok(answer) if answer.text.trim().is_empty() => {
            messages.pop();
            if answer.ended == Ended::Whole {
                note("There was no answer; the question is forgotten.");
            }
        }
        Ok(answer) => messages.push(Message::new(Role::Assistant, answer.text)),
        Err(error) => {
            messages.pop();
            note(&format!("{error:#}"));
        }
    }
}

/// A question of one or several lines; `None` at the end of input. Ctrl-C drops what was typed.
fn read(editor: &mut DefaultEditor) -> anyhow::Result<Option<String>> {
    let mut text = String::new();
    loop {
        let prompt = if text.is_empty() { "> " } else { ". " };
        match editor.readline(prompt) {
            Ok(line) => match line.strip_suffix('\\') {
                Some(begun) => {
                    text.push_str(begun);
                    text.push('\n');
                }
                None => return Ok(Some(text + &line)),
            },
            Err(ReadlineError::Interrupted) => {
                if text.is_empty() {
                    note("/exit or Ctrl-D leaves.");
                }
                text.clear();
            }
            Err(ReadlineError::Eof) => return Ok(None),
            Err(error) => return Err(error).context("cannot read from the terminal"),
        }
    }
}

#[expect(clippy::print_stderr, reason = "the conversation's own words are for the terminal")]
fn note(text: &str) {
    eprintln!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_questions_unless_they_begin_with_a_slash() {
        assert_eq!(Input::parse("  hello \n"), Input::Say("hello"));
        assert_eq!(Input::parse("  "), Input::Nothing);
        assert_eq!(Input::parse("/reset"), Input::Reset);
        assert_eq!(Input::parse("/system be brief"), Input::System(Some("be brief")));
        assert_eq!(Input::parse("/system "), Input::System(None));
        assert_eq!(Input::parse("/exit"), Input::Exit);
        assert_eq!(Input::parse("/etc/passwd is a file"), Input::Unknown("/etc/passwd"));
        assert_eq!(Input::parse("what is /etc?"), Input::Say("what is /etc?"));
    }
}
