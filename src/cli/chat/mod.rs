//! `outcrop chat`: one answer to one prompt, or a conversation.

mod conversation;
mod render;

use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::chat::{Message, Role};
use crate::cli::{
    Ended,
    guardrail::{GuardrailChoice, GuardrailSource, read_guardrails},
    load::{self, EngineOptions, ModelOptions},
};
use crate::guardrail::{Guardrail, OutputScope, StreamMode};
use crate::hub::Hub;
use crate::limits::{CHAT_INPUT_BYTES_MAX, ENGINE_END_WAIT};
use crate::pipeline::{
    ChatEvent, ChatRequest, ChatStream, GuardedText, Guarding, Input, Pipeline, SamplingOverrides,
};

use self::render::{Look, Renderer};

#[derive(Debug)]
pub(super) struct ChatOptions {
    pub model: ModelOptions,
    pub engine: EngineOptions,
    /// `None`: a conversation, or standard input when it is no terminal.
    pub prompt: Option<String>,
    pub system: Option<String>,
    pub request: RequestOptions,
    pub json: bool,
    pub hide_reasoning: bool,
    /// Neither styles nor colours, whatever the output is.
    pub plain: bool,
}

/// What is the same for every turn.
#[derive(Debug, Clone)]
pub(super) struct RequestOptions {
    pub max_tokens: Option<usize>,
    pub sampling: SamplingOverrides,
    pub stop_sequences: Vec<String>,
    pub reasoning_budget: Option<usize>,
    pub guardrail: Option<GuardrailOptions>,
}

/// A guardrail around the conversation, and where it is from.
#[derive(Debug, Clone)]
pub(super) struct GuardrailOptions {
    pub source: GuardrailSource,
    pub choice: GuardrailChoice,
}

impl RequestOptions {
    fn request(&self, messages: Vec<Message>, guardrail: Option<&Arc<Guardrail>>) -> ChatRequest {
        let guarding = guardrail.map(|guardrail| Guarding {
            guardrail: Arc::clone(guardrail),
            // What came before was judged in its turn.
            input: messages
                .last()
                .map(|message| GuardedText {
                    text: message.content.clone(),
                    qualifiers: Vec::new(),
                })
                .into_iter()
                .collect(),
            mode: StreamMode::Sync,
            scope: OutputScope::Interventions,
            is_whole: false,
            reasoning: true,
            observer: None,
        });
        ChatRequest {
            guarding,
            max_tokens: self.max_tokens,
            sampling: self.sampling,
            stop_sequences: self.stop_sequences.clone(),
            reasoning_budget: self.reasoning_budget,
            ..ChatRequest::new(Input::Messages(messages))
        }
    }
}

pub(super) fn run(options: ChatOptions, hub: &Hub) -> anyhow::Result<Ended> {
    let prompt = prompt(options.prompt)?;
    let request = options.request;
    let guardrail = request.guardrail.as_ref().map(|GuardrailOptions { source, choice }| {
        let guardrails = read_guardrails(source, None)?;
        anyhow::Ok(guardrails.resolve(&choice.identifier, &choice.version)?)
    });
    let guardrail = guardrail.transpose()?;
    let loaded = load::load(&options.model, &options.engine, hub)?;
    let runtime = runtime::Builder::new_multi_thread().enable_all().build()?;
    let look = Look::choose(options.json, options.hide_reasoning, options.plain);
    let _guard = runtime.enter();
    let mut session = Session {
        pipeline: loaded.pipeline,
        request,
        guardrail,
        interrupt: signal(SignalKind::interrupt())?,
        look,
    };
    let ended = match prompt {
        Some(prompt) => {
            let mut messages = system_message(options.system);
            messages.push(Message::new(Role::User, prompt));
            runtime.block_on(session.answer(messages)).map(|answer| answer.ended)
        }
        None => conversation::run(&mut session, &runtime, options.system).map(|()| Ended::Whole),
    };
    let engine = session.pipeline.engine().end();
    drop(session);
    engine.wait(ENGINE_END_WAIT);
    ended
}

fn system_message(system: Option<String>) -> Vec<Message> {
    system.map(|content| Message::new(Role::System, content)).into_iter().collect()
}

/// What was typed after the command, what is piped in, or the first followed by the second.
fn prompt(typed: Option<String>) -> anyhow::Result<Option<String>> {
    if io::stdin().is_terminal() {
        return Ok(typed);
    }
    let piped = read_text(io::stdin().lock()).context("cannot read standard input")?;
    let piped = piped.trim_end();
    match (typed, piped) {
        (Some(typed), "") => Ok(Some(typed)),
        (Some(typed), piped) => Ok(Some(format!("{typed}\n\n{piped}"))),
        (None, "") => bail!("there is no prompt: standard input is empty"),
        (None, piped) => Ok(Some(piped.to_owned())),
    }
}

fn read_text(input: impl Read) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    input.take(CHAT_INPUT_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > CHAT_INPUT_BYTES_MAX {
        bail!("it has more than {CHAT_INPUT_BYTES_MAX} bytes");
    }
    String::from_utf8(bytes).context("it is not UTF-8")
}

/// A model and how to talk to it.
struct Session {
    pipeline: Pipeline,
    request: RequestOptions,
    guardrail: Option<Arc<Guardrail>>,
    interrupt: Signal,
    look: Look,
}

struct Answer {
    /// Without the reasoning, which is not part of the history.
    text: String,
    ended: Ended,
}

impl Session {
    /// Streams an answer to the terminal. Ctrl-C ends it: dropping the stream cancels the request.
    async fn answer(&mut self, messages: Vec<Message>) -> anyhow::Result<Answer> {
        let request = self.request.request(messages, self.guardrail.as_ref());
        let stream = tokio::select! {
            stream = self.pipeline.run(request) => stream?,
            _ = self.interrupt.recv() => {
                return Ok(Answer { text: String::new(), ended: Ended::Interrupted });
            }
        };
        // Not locked: while this waits for the engine, the engine may have something to log.
        let mut renderer = Renderer::new(io::stdout().lock(), io::stderr(), self.look);
        show(stream, &mut self.interrupt, &mut renderer).await
    }
}

async fn show<O: Write, E: Write>(
    mut stream: ChatStream,
    interrupt: &mut Signal,
    renderer: &mut Renderer<O, E>,
) -> anyhow::Result<Answer> {
    let mut text = String::new();
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            _ = interrupt.recv() => {
                renderer.interrupted()?;
                return Ok(Answer { text, ended: Ended::Interrupted });
            }
        };
        match event {
            Some(ChatEvent::Reasoning(delta)) => renderer.reasoning(&delta)?,
            Some(ChatEvent::Text(delta)) => {
                text.push_str(&delta);
                renderer.text(&delta)?;
            }
            Some(ChatEvent::Finished(summary)) => {
                renderer.finished(&summary)?;
                return Ok(Answer { text, ended: Ended::Whole });
            }
            Some(ChatEvent::Failed(error)) => {
                renderer.interrupted()?;
                return Err(error.into());
            }
            // The terminal asks for neither.
            Some(
                ChatEvent::ToolCallStart { .. }
                | ChatEvent::ToolCallArguments(_)
                | ChatEvent::ToolCallEnd
                | ChatEvent::Logprobs(_),
            ) => {}
            None => bail!("the answer broke off"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_bounded_and_text() {
        assert_eq!(read_text("hello\n".as_bytes()).expect("text"), "hello\n");
        let most = vec![b'a'; CHAT_INPUT_BYTES_MAX as usize];
        assert_eq!(read_text(most.as_slice()).expect("at the limit").len(), most.len());
        let more = vec![b'a'; CHAT_INPUT_BYTES_MAX as usize + 1];
        let error = read_text(more.as_slice()).expect_err("above").to_string();
        assert!(error.contains(&CHAT_INPUT_BYTES_MAX.to_string()), "{error}");
        assert!(read_text([0xff].as_slice()).is_err());
    }
}
