//! How an answer looks: on a terminal, in a pipe, as JSON.

use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

use crate::cli::args::environment::no_color;
use crate::pipeline::{ChatSummary, StopReason};

const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    pub form: Form,
    pub hide_reasoning: bool,
    /// The closing line of tokens a second is dimmed.
    pub dim_closing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Reasoning is dim.
    Styled,
    /// Reasoning stands between `<think>` and `</think>`.
    Plain,
    /// One JSON object a line for each piece, and one at the end.
    Json,
}

impl Look {
    pub(super) fn choose(json: bool, hide_reasoning: bool, plain: bool) -> Self {
        let styles = !plain && !no_color();
        let form = match json {
            true => Form::Json,
            false if styles && io::stdout().is_terminal() => Form::Styled,
            false => Form::Plain,
        };
        Self { form, hide_reasoning, dim_closing: styles && io::stderr().is_terminal() }
    }
}

/// Writes one answer to `out` and what there is to say about it to `notes`.
pub(super) struct Renderer<O: Write, E: Write> {
    out: O,
    notes: E,
    look: Look,
    part: Part,
    ends_with_newline: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Nothing,
    Reasoning,
    Text,
}

impl<O: Write, E: Write> Renderer<O, E> {
    pub(super) fn new(out: O, notes: E, look: Look) -> Self {
        Self { out, notes, look, part: Part::Nothing, ends_with_newline: true }
    }

    pub(super) fn reasoning(&mut self, delta: &str) -> io::Result<()> {
        if self.look.hide_reasoning {
            return Ok(());
        }
        if self.look.form == Form::Json {
            return self.object(&json!({ "type": "reasoning", "text": delta }));
        }
        let delta = self.entering(Part::Reasoning, delta)?;
        self.piece(delta)
    }

    pub(super) fn text(&mut self, delta: &str) -> io::Result<()> {
        if self.look.form == Form::Json {
            return self.object(&json!({ "type": "text", "text": delta }));
        }
        let delta = self.entering(Part::Text, delta)?;
        self.piece(delta)
    }

    pub(super) fn finished(&mut self, summary: &ChatSummary) -> io::Result<()> {
        if self.look.form == Form::Json {
            return self.object(&summary_json(summary));
        }
        self.end()?;
        let (dim, reset) = if self.look.dim_closing { (DIM, RESET) } else { ("", "") };
        writeln!(self.notes, "{dim}{}{reset}", closing_line(summary))
    }

    /// The answer stops where it is.
    pub(super) fn interrupted(&mut self) -> io::Result<()> {
        match self.look.form {
            Form::Json => self.object(&json!({ "type": "interrupted" })),
            Form::Plain | Form::Styled => self.end(),
        }
    }

    /// Opens a part and closes the one before it. Returns the delta without the line breaks that
    /// models put at the beginning of a part, which stay out until the part has begun.
    fn entering<'a>(&mut self, part: Part, delta: &'a str) -> io::Result<&'a str> {
        if self.part == part {
            return Ok(delta);
        }
        let delta = delta.trim_start_matches('\n');
        if delta.is_empty() {
            return Ok(delta);
        }
        self.close_reasoning()?;
        match (part, self.look.form) {
            (Part::Reasoning, Form::Styled) => self.out.write_all(DIM.as_bytes())?,
            (Part::Reasoning, _) => self.out.write_all(b"<think>\n")?,
            _ => {}
        }
        self.part = part;
        Ok(delta)
    }

    fn close_reasoning(&mut self) -> io::Result<()> {
        if self.part != Part::Reasoning {
            return Ok(());
        }
        if !self.ends_with_newline {
            self.out.write_all(b"\n")?;
        }
        match self.look.form {
            Form::Styled => self.out.write_all(format!("{RESET}\n").as_bytes())?,
            _ => self.out.write_all(b"</think>\n\n")?,
        }
        self.ends_with_newline = true;
        self.part = Part::Nothing;
        Ok(())
    }

    /// Each piece is shown at once.
    fn piece(&mut self, delta: &str) -> io::Result<()> {
        if !delta.is_empty() {
            self.out.write_all(delta.as_bytes())?;
            self.ends_with_newline = delta.ends_with('\n');
        }
        self.out.flush()
    }

    fn end(&mut self) -> io::Result<()> {
        self.close_reasoning()?;
        if !self.ends_with_newline {
            self.out.write_all(b"\n")?;
            self.ends_with_newline = true;
        }
        self.out.flush()
    }

    fn object(&mut self, value: &Value) -> io::Result<()> {
        writeln!(self.out, "{value}")?;
        self.out.flush()
    }
}

/// `prompt 21 tokens (16 cached), 41.3 tokens/s; answer 128 tokens (90 reasoning, 31 guessed), 12.9
/// tokens/s; end_turn`
fn closing_line(summary: &ChatSummary) -> String {
    let usage = &summary.usage;
    let (reading, writing) = speeds(summary);
    let speed =
        |rate: Option<f64>| rate.map_or(String::new(), |rate| format!(", {rate:.1} tokens/s"));
    let of_which = |parts: &[(usize, &str)]| {
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> = parts.map(|(count, name)| format!("{count} {name}")).collect();
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
    };
    format!(
        "prompt {} tokens{}{}; answer {} tokens{}{}; {}",
        usage.prompt_tokens,
        of_which(&[(usage.cached_prompt_tokens, "cached")]),
        speed(reading),
        usage.generated_tokens,
        of_which(&[(usage.reasoning_tokens, "reasoning"), (usage.guessed_tokens, "guessed")]),
        speed(writing),
        stop_reason(&summary.stop_reason),
    )
}

fn summary_json(summary: &ChatSummary) -> Value {
    let usage = &summary.usage;
    let (reading, writing) = speeds(summary);
    let stop_sequence = match &summary.stop_reason {
        StopReason::StopSequence(sequence) => Some(sequence),
        _ => None,
    };
    json!({
        "type": "finished",
        "stop_reason": stop_reason(&summary.stop_reason),
        "stop_sequence": stop_sequence,
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "cached_prompt_tokens": usage.cached_prompt_tokens,
            "generated_tokens": usage.generated_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "guessed_tokens": usage.guessed_tokens,
        },
        "timing": {
            "first_token_s": summary.timing.first_token.map(|time| time.as_secs_f64()),
            "total_s": summary.timing.total.as_secs_f64(),
            "prefill_tokens_per_s": reading,
            "decode_tokens_per_s": writing,
        },
    })
}

/// Bedrock's words.
fn stop_reason(reason: &StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn => "end_turn",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopSequence(_) => "stop_sequence",
        StopReason::ContextWindowExceeded => "model_context_window_exceeded",
        StopReason::ToolUse => "tool_use",
        StopReason::MalformedToolUse => "malformed_tool_use",
        StopReason::GuardrailIntervened => "guardrail_intervened",
    }
}

/// Tokens a second of reading the prompt and of writing the answer; `None` where nothing can be
/// said: no token, or a single one.
fn speeds(summary: &ChatSummary) -> (Option<f64>, Option<f64>) {
    let Some(first_token) = summary.timing.first_token else { return (None, None) };
    let rate = |tokens: usize, seconds: f64| {
        (tokens > 0 && seconds > 0.0).then(|| tokens as f64 / seconds)
    };
    let computed = summary.usage.prompt_tokens - summary.usage.cached_prompt_tokens;
    let writing = summary.timing.total.saturating_sub(first_token).as_secs_f64();
    // The first token comes with the prompt.
    let further = summary.usage.generated_tokens.saturating_sub(1);
    (rate(computed, first_token.as_secs_f64()), rate(further, writing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Timing, Usage};
    use std::time::Duration;

    fn summary() -> ChatSummary {
        ChatSummary {
            stop_reason: StopReason::EndTurn,
            usage: Usage {
                prompt_tokens: 24,
                cached_prompt_tokens: 16,
                written_prompt_tokens: 0,
                generated_tokens: 11,
                reasoning_tokens: 4,
                guessed_tokens: 2,
            },
            timing: Timing {
                first_token: Some(Duration::from_millis(500)),
                total: Duration::from_millis(2500),
            },
        }
    }

    fn rendered(form: Form, hide_reasoning: bool) -> (String, String) {
        let look = Look { form, hide_reasoning, dim_closing: form == Form::Styled };
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut renderer = Renderer::new(&mut out, &mut notes, look);
        renderer.reasoning("Let me").expect("in memory");
        renderer.reasoning(" think.\n").expect("in memory");
        renderer.text("\n\n").expect("in memory");
        renderer.text("42").expect("in memory");
        renderer.finished(&summary()).expect("in memory");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (text(out), text(notes))
    }

    #[test]
    fn reasoning_is_dim_on_a_terminal_and_marked_elsewhere() {
        let (out, notes) = rendered(Form::Styled, false);
        assert_eq!(out, "\x1b[2mLet me think.\n\x1b[0m\n42\n");
        assert!(notes.starts_with(DIM) && notes.ends_with("\x1b[0m\n"), "{notes:?}");
        let (out, notes) = rendered(Form::Plain, false);
        assert_eq!(out, "<think>\nLet me think.\n</think>\n\n42\n");
        assert_eq!(
            notes,
            "prompt 24 tokens (16 cached), 16.0 tokens/s; \
             answer 11 tokens (4 reasoning, 2 guessed), 5.0 tokens/s; end_turn\n"
        );
        assert_eq!(rendered(Form::Plain, true).0, "42\n");
    }

    #[test]
    fn json_is_one_object_a_line_with_every_byte_of_the_answer() {
        let (out, notes) = rendered(Form::Json, false);
        assert!(notes.is_empty());
        let lines: Vec<Value> =
            out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let kinds: Vec<_> =
            lines.iter().map(|line| line["type"].as_str().expect("a type")).collect();
        assert_eq!(kinds, ["reasoning", "reasoning", "text", "text", "finished"]);
        assert_eq!(lines[2]["text"], "\n\n");
        assert_eq!(lines[4]["usage"]["cached_prompt_tokens"], 16);
        assert_eq!(lines[4]["timing"]["decode_tokens_per_s"], 5.0);
    }

    #[test]
    fn an_interrupted_answer_leaves_the_terminal_as_it_was() {
        let look = Look { form: Form::Styled, hide_reasoning: false, dim_closing: true };
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut renderer = Renderer::new(&mut out, &mut notes, look);
        renderer.reasoning("Let me").expect("in memory");
        renderer.interrupted().expect("in memory");
        assert_eq!(String::from_utf8(out).expect("UTF-8"), "\x1b[2mLet me\n\x1b[0m\n");
    }

    #[test]
    fn a_single_token_has_no_speed() {
        let mut summary = summary();
        summary.usage.generated_tokens = 1;
        assert_eq!(speeds(&summary).1, None);
        summary.timing.first_token = None;
        assert_eq!(speeds(&summary), (None, None));
    }
}
