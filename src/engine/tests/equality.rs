//! Whatever else the engine does, the text of a request is that of running it alone.

use std::sync::Arc;

use proptest::prelude::*;

use super::constraint::Brackets;
use super::{Rig, VOCAB_SIZE, alone_with, config, request};
use crate::engine::{
    EngineConfig, GenerationRequest, Priority, ReasoningBudget, SamplingParams, Speculation,
    TokenConstraint, TokenEvent,
};
use crate::limits::PREEMPTIONS_PER_REQUEST_MAX;
use crate::model::toy::{ToyLm, ToyReply};

#[derive(Debug, Clone)]
pub(super) struct Arrival {
    pub(super) request: GenerationRequest,
    pub(super) constrained: bool,
    step: usize,
    /// Steps after its arrival at which the client goes away.
    leaves_after: Option<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) block_size: usize,
    pub(super) num_blocks: usize,
    pub(super) config: EngineConfig,
    /// The model mostly repeats itself, so that guesses are right; otherwise they are wrong.
    repetitive: bool,
    draft: Option<DraftKind>,
    pub(super) arrivals: Vec<Arrival>,
}

/// What the draft model is beside the model.
#[derive(Debug, Clone, Copy)]
enum DraftKind {
    /// The same.
    Same,
    /// Of the same opinion at some places.
    Similar,
    /// The same, which fails in the end.
    Failing,
}

impl DraftKind {
    fn model(self, repetitive: bool) -> ToyLm {
        match self {
            Self::Same => model(repetitive),
            Self::Similar => ToyLm::scripted(VOCAB_SIZE, |step| match step.tokens.len() % 7 {
                0 => ToyReply::NotANumber,
                1 => ToyReply::Token(5),
                _ => ToyReply::Hash,
            }),
            Self::Failing => ToyLm::scripted(VOCAB_SIZE, |step| match step.tokens.len() {
                30.. => ToyReply::Fail("broken".into()),
                _ => ToyReply::Hash,
            }),
        }
    }
}

impl Arrival {
    fn constraint(&self) -> Option<Box<dyn TokenConstraint>> {
        self.constrained.then(|| Box::new(Brackets::default()) as Box<dyn TokenConstraint>)
    }
}

/// Prompts begin with a piece of one of two texts, so that they share prefixes of every length.
fn prompt() -> impl Strategy<Value = Vec<u32>> {
    let token = 0..VOCAB_SIZE as u32;
    (0u32..2, 0usize..30, prop::collection::vec(token, 1..8)).prop_map(|(text, len, suffix)| {
        (0..len as u32).map(|at| (at * 5 + text * 7) % 19).chain(suffix).collect()
    })
}

fn sampling() -> impl Strategy<Value = SamplingParams> {
    let choice = |values: &'static [f32]| prop::sample::select(values);
    (
        choice(&[0.0, 0.0, 0.7, 3.0]),
        choice(&[1.0, 0.9]),
        0usize..6,
        choice(&[0.0, 0.05]),
        choice(&[1.0, 1.2]),
        0u64..3,
    )
        .prop_map(|(temperature, top_p, top_k, min_p, repetition_penalty, seed)| {
            SamplingParams { temperature, top_p, top_k, min_p, repetition_penalty, seed }
        })
}

fn reasoning() -> impl Strategy<Value = Option<ReasoningBudget>> {
    prop::option::of((0usize..10, any::<bool>()).prop_map(|(max_tokens, starts_open)| {
        ReasoningBudget {
            max_tokens,
            starts_open,
            open_id: 20,
            close_id: 21,
            closing_ids: Arc::from([3, 21, 4]),
            leading_ids: Arc::from([4]),
        }
    }))
}

fn arrival() -> impl Strategy<Value = Arrival> {
    let times = (0usize..40, prop::option::of(0usize..25));
    let priority = prop::sample::select(vec![Priority::Low, Priority::Normal, Priority::High]);
    let salt = prop::sample::select(vec![None, Some("a"), Some("b")]);
    let kind = (priority, salt, any::<bool>());
    (prompt(), 0usize..40, sampling(), reasoning(), kind, times).prop_map(
        |(prompt, max_tokens, sampling, reasoning_budget, (priority, salt, constrained), times)| {
            let (step, leaves_after) = times;
            let request = GenerationRequest {
                max_tokens,
                stop_ids: Arc::from([22]),
                sampling,
                reasoning_budget,
                priority,
                cache_salt: salt.map(Arc::from),
                ..request(&prompt)
            };
            Arrival { request, constrained, step, leaves_after }
        },
    )
}

fn speculation() -> impl Strategy<Value = Speculation> {
    prop_oneof![
        Just(Speculation::Off),
        Just(Speculation::Auto),
        (1usize..8).prop_map(Speculation::Always),
    ]
}

fn draft() -> impl Strategy<Value = Option<DraftKind>> {
    let kinds = [DraftKind::Same, DraftKind::Similar, DraftKind::Failing];
    prop::option::of(prop::sample::select(kinds.to_vec()))
}

/// Mostly the token that it always writes behind the last one, and at some places a hash of all
/// that is in the cache, so that a wrong key or value changes the text as well.
pub(super) fn model(repetitive: bool) -> ToyLm {
    ToyLm::scripted(VOCAB_SIZE, move |step| match step.tokens {
        [.., last] if repetitive && step.tokens.len() % 9 > 0 => {
            ToyReply::Token((last * 5 + 3) % (VOCAB_SIZE as u32 - 2))
        }
        _ => ToyReply::Hash,
    })
}

pub(super) fn load() -> impl Strategy<Value = Load> {
    (
        1usize..8,
        40usize..90,
        1usize..9,
        1usize..24,
        any::<bool>(),
        (speculation(), any::<bool>(), draft()),
        prop::collection::vec(arrival(), 1..16),
    )
        .prop_map(
            |(block_size, num_slots, max_num_seqs, rows, prefix_cache, kind, mut arrivals)| {
                let (speculation, repetitive, draft) = kind;
                arrivals.sort_by_key(|arrival| arrival.step);
                let num_blocks = num_slots.div_ceil(block_size);
                let config = EngineConfig {
                    max_model_len: num_blocks * block_size,
                    max_num_seqs: max_num_seqs.min(rows),
                    max_num_batched_tokens: rows,
                    prefix_cache,
                    speculation,
                    ..config()
                };
                Load { block_size, num_blocks, config, repetitive, draft, arrivals }
            },
        )
}

/// Steps that a load may take at most: each token once per admission, one at a time.
fn steps_max(load: &Load) -> usize {
    let tokens = |it: &Arrival| it.request.prompt.len() + it.request.max_tokens;
    let tokens: usize = load.arrivals.iter().map(tokens).sum();
    let last_arrival = load.arrivals.last().map_or(0, |arrival| arrival.step);
    last_arrival + 1 + tokens * (PREEMPTIONS_PER_REQUEST_MAX + 1)
}

fn run(load: &Load) -> Rig {
    let model = model(load.repetitive);
    let draft = load.draft.map(|kind| kind.model(load.repetitive));
    let blocks = (load.block_size, load.num_blocks);
    run_on(Rig::drafted(model, draft, blocks, load.config.clone()), load)
}

pub(super) fn run_on(mut rig: Rig, load: &Load) -> Rig {
    let mut num_steps = 0;
    let mut next = 0;
    while next < load.arrivals.len() || rig.core.has_work() {
        while load.arrivals.get(next).is_some_and(|arrival| arrival.step <= num_steps) {
            let arrival = &load.arrivals[next];
            rig.submit_constrained(arrival.request.clone(), arrival.constraint()).unwrap();
            next += 1;
        }
        for index in 0..rig.clients.len() {
            let arrival = &load.arrivals[index];
            if arrival.leaves_after == Some(num_steps - arrival.step) {
                rig.abort(index);
            }
        }
        rig.step();
        num_steps += 1;
        assert!(num_steps <= steps_max(load), "still {:?}", rig.stats());
    }
    rig
}

proptest! {
    #[test]
    fn a_request_is_answered_as_if_it_were_alone(load in load()) {
        let rig = run(&load);
        for (client, arrival) in rig.clients.iter().zip(&load.arrivals) {
            let (request, constraint) = (arrival.request.clone(), arrival.constraint());
            let max_model_len = load.config.max_model_len;
            let model = model(load.repetitive);
            let reference = alone_with(model, request, constraint, max_model_len);
            if let Some(end) = &client.end {
                prop_assert_eq!(&client.tokens, &reference.tokens);
                let (TokenEvent::Finished(end), Some(TokenEvent::Finished(expected))) =
                    (end, &reference.end) else { panic!("{end:?} for {:?}", reference.end) };
                prop_assert_eq!(end.reason, expected.reason);
                prop_assert_eq!(end.num_generated_tokens, client.tokens.len());
                prop_assert_eq!(end.num_reasoning_tokens, expected.num_reasoning_tokens);
                prop_assert!(end.num_cached_tokens < end.num_prompt_tokens);
            } else {
                prop_assert!(arrival.leaves_after.is_some(), "only a client that left has no end");
                prop_assert!(reference.tokens.starts_with(&client.tokens));
            }
        }
        let stats = rig.stats();
        prop_assert!(stats.accepted_draft_tokens_total <= stats.draft_tokens_total);
        let speculates = load.config.speculation != Speculation::Off;
        prop_assert!(speculates || stats.draft_tokens_total == 0);
        prop_assert_eq!((stats.num_running, stats.num_waiting, stats.num_used_blocks), (0, 0, 0));
        let num_ended = stats.finished_requests_total + stats.aborted_requests_total;
        prop_assert_eq!(num_ended, load.arrivals.len() as u64);
    }
}
