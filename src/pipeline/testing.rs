//! Pipelines for tests: the toy model with the vocabulary and template of [`fixture`].

use std::thread::sleep;
use std::time::Duration;

use crate::chat::fixture;
use crate::engine::{Engine, EngineConfig, Speculation};
use crate::model::toy::{ToyLm, ToyReply, ToyStep};
use crate::pipeline::Pipeline;

pub(crate) const MAX_MODEL_LEN: usize = 2048;
const BLOCK_SIZE: usize = 16;

/// The id of a control token of the fixture.
pub(crate) fn control_id(token: &str) -> u32 {
    let index = fixture::SPECIAL.iter().position(|(text, _)| *text == token);
    fixture::VOCAB_SIZE - fixture::SPECIAL.len() as u32 + index.expect("it is in the list") as u32
}

/// What the model writes: bytes, the tags of reasoning as control tokens, and the end token.
pub(crate) fn answer_ids(answer: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    let mut rest = answer;
    while let Some(character) = rest.chars().next() {
        let tag = ["<think>", "</think>"].into_iter().find(|tag| rest.starts_with(tag));
        let len = tag.map_or(character.len_utf8(), str::len);
        match tag {
            Some(tag) => ids.push(control_id(tag)),
            None => ids.extend(rest.as_bytes()[..len].iter().map(|&b| fixture::byte_id(b))),
        }
        rest = &rest[len..];
    }
    ids.push(control_id(fixture::EOS));
    ids
}

/// Tokens that the model has written so far: those after `<｜Assistant｜><think>\n`.
pub(crate) fn num_written(step: &ToyStep<'_>) -> usize {
    let assistant = control_id("<｜Assistant｜>");
    let turn = step.tokens.iter().rposition(|&id| id == assistant);
    turn.map_or(0, |turn| step.tokens.len().saturating_sub(turn + 3))
}

/// Answers everything with the same text.
pub(crate) fn saying(answer: &str) -> Pipeline {
    let ids = answer_ids(answer);
    scripted(move |step| {
        let end = control_id(fixture::EOS);
        ToyReply::Token(ids.get(num_written(step)).copied().unwrap_or(end))
    })
}

/// Writes `a` for ever, with a pause before each token.
pub(crate) fn endless(pause: Duration) -> Pipeline {
    scripted(move |_| {
        sleep(pause);
        ToyReply::Token(fixture::byte_id(b'a'))
    })
}

pub(crate) fn scripted(script: impl FnMut(&ToyStep<'_>) -> ToyReply + Send + 'static) -> Pipeline {
    let config = EngineConfig {
        max_model_len: MAX_MODEL_LEN,
        max_num_seqs: 16,
        max_num_batched_tokens: 256,
        queued_requests_max: 64,
        queued_tokens_max: 100_000,
        prefix_cache: true,
        speculation: Speculation::Off,
    };
    scripted_with(config, script)
}

pub(crate) fn scripted_with(
    config: EngineConfig,
    script: impl FnMut(&ToyStep<'_>) -> ToyReply + Send + 'static,
) -> Pipeline {
    let model = ToyLm::scripted(fixture::VOCAB_SIZE as usize, script);
    let kv_cache = ToyLm::kv_cache(BLOCK_SIZE, 4 * MAX_MODEL_LEN / BLOCK_SIZE).unwrap();
    let engine = Engine::start(Box::new(model), kv_cache, None, config).unwrap();
    Pipeline::new(fixture::text_assets(), engine)
}
