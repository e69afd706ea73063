//! A guardrail around a request: what the client wrote is judged before the model reads it, what
//! the model writes before the client does.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use crate::guardrail::{
    Assessment, Block, CannotMask, Direction, Grounding, Guardrail, Intervention, OutputScope,
    Qualifier, Released, StreamGuard, StreamMode, Verdict,
};
use crate::pipeline::{ChatEvent, ChatRequest, ChatSummary, Input, StopReason, Timing, Usage};

/// The guardrail of a request and what it is to look at.
#[derive(Debug, Clone)]
pub struct Guarding {
    pub guardrail: Arc<Guardrail>,
    /// Of the client's text, as the protocol chooses it. Each occurs in the request's input.
    pub input: Vec<GuardedText>,
    pub mode: StreamMode,
    pub scope: OutputScope,
    /// The client gets the answer at once: then a blocked one is the guardrail's message alone.
    pub is_whole: bool,
    /// Also look at what the model thinks.
    pub reasoning: bool,
    pub observer: Option<GuardrailObserver>,
}

/// Is told once what a guardrail found, when the answer ends or is given up.
#[derive(Clone)]
pub struct GuardrailObserver(Arc<dyn Fn(&GuardrailTrace) + Send + Sync>);

impl GuardrailObserver {
    pub fn new(observe: impl Fn(&GuardrailTrace) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observe))
    }
}

impl std::fmt::Debug for GuardrailObserver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GuardrailObserver")
    }
}

/// A piece of the input.
#[derive(Clone)]
pub struct GuardedText {
    pub text: String,
    pub qualifiers: Vec<Qualifier>,
}

/// Shows sizes, never text.
impl std::fmt::Debug for GuardedText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GuardedText({} bytes, {:?})", self.text.len(), self.qualifiers)
    }
}

/// What a guardrail found in a request and its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct GuardrailTrace {
    /// Identifies the guardrail in traces.
    pub guardrail_id: String,
    pub input: Option<Assessment>,
    /// One for each stretch of reasoning, text and arguments that was looked at.
    pub outputs: Vec<Assessment>,
    /// The answer's text as the model wrote it, where a guardrail changed or blocked it. A client
    /// that asks for the trace may see it, as Bedrock has it.
    pub model_output: Option<String>,
    /// The answer came to its end. Of another one, what follows the last assessment is unknown.
    pub is_complete: bool,
}

impl GuardrailTrace {
    fn of(guardrail_id: String) -> Self {
        let (outputs, model_output) = (Vec::new(), None);
        Self { guardrail_id, input: None, outputs, model_output, is_complete: false }
    }

    /// What was judged and how, in the order of judging.
    pub fn assessments(&self) -> impl Iterator<Item = (Direction, &Assessment)> {
        let outputs = self.outputs.iter().map(|it| (Direction::Output, it));
        self.input.iter().map(|it| (Direction::Input, it)).chain(outputs)
    }

    pub fn intervention(&self) -> Intervention {
        let all = self.input.iter().chain(&self.outputs).map(Assessment::intervention);
        all.max().unwrap_or(Intervention::None)
    }

    /// Why the guardrail intervened, in Bedrock's words.
    pub fn action_reason(&self) -> Option<&'static str> {
        let gravest = self.input.iter().chain(&self.outputs).max_by_key(|it| it.intervention());
        gravest.and_then(Assessment::action_reason)
    }
}

impl Guarding {
    fn blocks(&self) -> Vec<Block<'_>> {
        let texts = self.input.iter();
        texts.map(|it| Block { text: &it.text, qualifiers: &it.qualifiers }).collect()
    }

    /// Judges the input and masks it in the request. The message that a block answers with is the
    /// error.
    pub(super) fn judge_input(&self, request: &mut ChatRequest) -> (Assessment, Option<String>) {
        let outcome = self.guardrail.assess(Direction::Input, &self.blocks(), self.scope);
        let message = match outcome.verdict {
            Verdict::Pass => None,
            Verdict::Blocked(message) => Some(message),
            Verdict::Masked(masked) => {
                let is_content = |it: &&GuardedText| {
                    it.qualifiers.is_empty() || it.qualifiers.contains(&Qualifier::GuardContent)
                };
                let originals = self.input.iter().filter(is_content);
                for (original, masked) in originals.zip(masked) {
                    replace(&mut request.input, &original.text, &masked);
                }
                None
            }
        };
        (outcome.assessment, message)
    }
}

/// Replaces a piece of the input wherever it stands.
fn replace(input: &mut Input, original: &str, masked: &str) {
    if original == masked {
        return;
    }
    match input {
        Input::Text(text) => *text = text.replace(original, masked),
        Input::Messages(messages) => {
            for message in messages.iter_mut().filter(|it| it.content.contains(original)) {
                message.content = message.content.replace(original, masked);
            }
        }
    }
}

/// Which stretch of an answer an event belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stretch {
    Reasoning,
    Text,
    Arguments,
}

impl Stretch {
    fn event(self, text: String) -> ChatEvent {
        match self {
            Self::Reasoning => ChatEvent::Reasoning(text),
            Self::Text => ChatEvent::Text(text),
            Self::Arguments => ChatEvent::ToolCallArguments(text),
        }
    }
}

/// Also of a request that was refused after its input was judged, that failed, or whose client went
/// away.
impl Drop for Gate {
    fn drop(&mut self) {
        if let Some((_, guard)) = self.current.take() {
            self.trace.outputs.push(guard.into_assessment());
        }
        self.tell();
    }
}

/// Stands between the model's events and the client.
#[derive(Debug)]
pub(super) struct Gate {
    guarding: Guarding,
    grounding: Grounding,
    current: Option<(Stretch, StreamGuard)>,
    /// What may be taken.
    ready: VecDeque<ChatEvent>,
    /// The answer's text as the model wrote it.
    written: String,
    pub(super) trace: GuardrailTrace,
    pub(super) is_blocked: bool,
}

impl Gate {
    pub(super) fn new(guarding: Guarding, input: Assessment) -> Result<Self, CannotMask> {
        let guardrail_id = guarding.guardrail.identity().id.clone();
        let gate = Self {
            grounding: Grounding::of_blocks(&guarding.blocks()),
            guarding,
            current: None,
            ready: VecDeque::new(),
            written: String::new(),
            trace: GuardrailTrace { input: Some(input), ..GuardrailTrace::of(guardrail_id) },
            is_blocked: false,
        };
        gate.stretch(Stretch::Text)?;
        Ok(gate)
    }

    /// Whether taking an event in can take long.
    pub(super) fn consults(&self) -> bool {
        self.guarding.guardrail.consults(Direction::Output)
    }

    /// The answer to a blocked input is the message alone.
    pub(super) fn block_input(&mut self, message: String) {
        self.is_blocked = true;
        self.ready.push_back(ChatEvent::Text(message));
        self.finish(ChatSummary {
            stop_reason: StopReason::GuardrailIntervened,
            usage: Usage::default(),
            timing: Timing::default(),
        });
    }

    pub(super) fn take(&mut self) -> Option<ChatEvent> {
        // A whole answer is given out when all of it was judged.
        let is_done = self
            .ready
            .back()
            .is_some_and(|event| matches!(event, ChatEvent::Finished(_) | ChatEvent::Failed(_)));
        match self.guarding.is_whole && !is_done {
            true => None,
            false => self.ready.pop_front(),
        }
    }

    /// Takes an event in. After a block nothing but the summary is to follow.
    pub(super) fn push(&mut self, event: ChatEvent) {
        match event {
            ChatEvent::Reasoning(text) if self.guarding.reasoning => {
                self.push_text(Stretch::Reasoning, &text);
            }
            ChatEvent::Reasoning(_) => {
                self.end_stretch();
                self.ready.push_back(event);
            }
            ChatEvent::Text(text) => self.push_text(Stretch::Text, &text),
            ChatEvent::ToolCallArguments(text) => self.push_text(Stretch::Arguments, &text),
            // They spell out what waits, so they have no place beside a guardrail.
            ChatEvent::Logprobs(_) => {}
            ChatEvent::Finished(summary) => {
                self.end_stretch();
                self.finish(summary);
            }
            ChatEvent::ToolCallStart { .. } | ChatEvent::ToolCallEnd | ChatEvent::Failed(_) => {
                self.end_stretch();
                if !self.is_blocked {
                    self.ready.push_back(event);
                }
            }
        }
    }

    /// The summary, with the stop reason that an intervention makes.
    pub(super) fn finish(&mut self, summary: ChatSummary) {
        let stop_reason = match self.trace.intervention() {
            Intervention::None => summary.stop_reason,
            // What the input's masking changed is the model's business, not the answer's.
            _ if self.trace.outputs.iter().all(|it| it.intervention() == Intervention::None) => {
                summary.stop_reason
            }
            _ => StopReason::GuardrailIntervened,
        };
        self.ready.push_back(ChatEvent::Finished(ChatSummary { stop_reason, ..summary }));
        self.trace.is_complete = true;
        self.tell();
    }

    fn tell(&mut self) {
        if let Some(GuardrailObserver(observe)) = self.guarding.observer.take() {
            observe(&self.trace);
        }
    }

    fn stretch(&self, stretch: Stretch) -> Result<StreamGuard, CannotMask> {
        // Only the answer is held against its sources.
        let grounding = match stretch {
            Stretch::Text => self.grounding.clone(),
            Stretch::Reasoning | Stretch::Arguments => Grounding::default(),
        };
        let Guarding { guardrail, mode, scope, .. } = &self.guarding;
        StreamGuard::new(Arc::clone(guardrail), *mode, grounding, *scope)
    }

    fn push_text(&mut self, stretch: Stretch, text: &str) {
        if self.current.as_ref().is_some_and(|(current, _)| *current != stretch) {
            self.end_stretch();
        }
        if self.is_blocked {
            return;
        }
        if stretch == Stretch::Text {
            self.written.push_str(text);
        }
        let (_, mut guard) = self.current.take().unwrap_or_else(|| {
            (stretch, self.stretch(stretch).expect("the mode was checked when the gate was made"))
        });
        let released = guard.push(text);
        self.current = Some((stretch, guard));
        self.release(stretch, released);
    }

    fn end_stretch(&mut self) {
        let Some((stretch, mut guard)) = self.current.take() else { return };
        let released = guard.finish();
        self.current = Some((stretch, guard));
        self.release(stretch, released);
        if let Some((_, guard)) = self.current.take() {
            self.trace.outputs.push(guard.into_assessment());
        }
    }

    fn release(&mut self, stretch: Stretch, released: Released) {
        let (text, is_blocked) = match released {
            Released::Text(text) => (text, false),
            Released::Blocked(text) => (text, true),
        };
        if !text.is_empty() {
            self.ready.push_back(stretch.event(text));
        }
        if !is_blocked {
            return;
        }
        self.is_blocked = true;
        if let Some((_, guard)) = self.current.take() {
            self.trace.outputs.push(guard.into_assessment());
        }
        if self.guarding.is_whole {
            self.ready.clear();
        } else if stretch == Stretch::Arguments {
            self.ready.push_back(ChatEvent::ToolCallEnd);
        }
        let message = self.guarding.guardrail.blocked_message(Direction::Output).to_owned();
        self.ready.push_back(ChatEvent::Text(message));
    }

    /// The trace so far, taken out.
    pub(super) fn take_trace(&mut self) -> GuardrailTrace {
        let empty = GuardrailTrace::of(self.trace.guardrail_id.clone());
        let mut trace = mem::replace(&mut self.trace, empty);
        let is_changed = trace.outputs.iter().any(|it| it.intervention() != Intervention::None);
        let written = mem::take(&mut self.written);
        trace.model_output = Some(written).filter(|it| is_changed && !it.is_empty());
        trace
    }
}
