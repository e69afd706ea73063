//! What is refused, at its limit and one above.

use std::sync::Arc;

use super::{
    Barrier, VOCAB_SIZE, assert_idle, collect, config, greedy, request, start, start_with, summary,
};
use crate::engine::{
    Engine, EngineConfig, FinishReason, GenerationRequest, ReasoningBudget, SamplingParams,
    StartError, SubmitError,
};
use crate::model::toy::ToyLm;

#[test]
fn a_prompt_must_leave_room_for_one_token() {
    let engine = start(ToyLm::new(VOCAB_SIZE));
    let longest = collect(engine.submit(request(&[1; 63])).unwrap());
    assert_eq!(longest.0.len(), 1);
    assert_eq!(summary(&longest.1).reason, FinishReason::ContextFull);
    let refused = engine.submit(request(&[1; 64])).unwrap_err();
    assert_eq!(refused, SubmitError::PromptTooLong { tokens: 64, limit: 64 });
}

#[test]
fn prompts_that_cannot_be_computed_are_refused() {
    let engine = start(ToyLm::new(VOCAB_SIZE));
    assert_eq!(engine.submit(request(&[])).unwrap_err(), SubmitError::EmptyPrompt);
    let last = VOCAB_SIZE as u32 - 1;
    engine.submit(request(&[last])).unwrap();
    let unknown = SubmitError::UnknownToken { id: last + 1, vocab_size: VOCAB_SIZE };
    assert_eq!(engine.submit(request(&[1, last + 1])).unwrap_err(), unknown);

    let budget = ReasoningBudget {
        max_tokens: 1,
        starts_open: true,
        open_id: 1,
        close_id: 2,
        closing_ids: Arc::from([2, last + 1]),
        leading_ids: Arc::from([]),
    };
    let request = |sampling, reasoning_budget| GenerationRequest {
        sampling,
        reasoning_budget,
        ..request(&[1])
    };
    assert_eq!(engine.submit(request(greedy(), Some(budget))).unwrap_err(), unknown);
    let sampling = SamplingParams { top_p: 1.5, ..greedy() };
    let refused = engine.submit(request(sampling, None)).unwrap_err();
    assert!(matches!(refused, SubmitError::SamplingOutOfRange { field: "top_p", .. }));
}

#[test]
fn the_queue_takes_requests_up_to_its_limit() {
    let (model, mut barrier) = Barrier::new();
    let config = EngineConfig { max_num_seqs: 1, queued_requests_max: 3, ..config() };
    let engine = start_with(model, config);
    let mut accepted = vec![engine.submit(request(&[1])).unwrap()];
    barrier.wait_for_sequence();
    accepted.extend((0..3).map(|_| engine.submit(request(&[2])).unwrap()));
    assert_eq!(engine.submit(request(&[3])).unwrap_err(), SubmitError::QueueFull { limit: 3 });
    assert_eq!((engine.stats().num_running, engine.stats().num_waiting), (1, 3));

    drop(accepted.pop());
    barrier.pass();
    barrier.wait_for_sequence();
    accepted.push(engine.submit(request(&[3])).expect("a client that left gives its place back"));
    assert_eq!(engine.submit(request(&[3])).unwrap_err(), SubmitError::QueueFull { limit: 3 });

    barrier.open();
    for generation in accepted {
        assert_eq!(collect(generation).0.len(), 16);
    }
    assert_idle(&engine.stats());
    collect(engine.submit(request(&[3])).unwrap());
}

/// The engine thread is busy and has seen none of them.
#[test]
fn a_burst_fills_the_free_sequences_and_the_queue() {
    let (model, mut barrier) = Barrier::new();
    let config = EngineConfig { max_num_seqs: 3, queued_requests_max: 2, ..config() };
    let engine = start_with(model, config);
    let mut accepted = vec![engine.submit(request(&[1])).unwrap()];
    barrier.wait_for_sequence();
    accepted.extend((0..4).map(|_| engine.submit(request(&[2])).unwrap()));
    assert_eq!(engine.submit(request(&[3])).unwrap_err(), SubmitError::QueueFull { limit: 2 });

    barrier.open();
    for generation in accepted {
        collect(generation);
    }
    assert_idle(&engine.stats());
}

#[test]
fn the_queue_takes_prompt_tokens_up_to_its_limit() {
    let (model, mut barrier) = Barrier::new();
    let config = EngineConfig { max_num_seqs: 1, queued_tokens_max: 10, ..config() };
    let engine = start_with(model, config);
    let running = engine.submit(request(&[1; 20])).expect("an empty queue takes any prompt");
    barrier.wait_for_sequence();
    let queued =
        [engine.submit(request(&[1; 4])).unwrap(), engine.submit(request(&[1; 6])).unwrap()];
    let refused = engine.submit(request(&[1])).unwrap_err();
    assert_eq!(refused, SubmitError::QueuedTokensFull { queued: 10, limit: 10 });
    barrier.open();
    for generation in queued.into_iter().chain([running]) {
        summary(&collect(generation).1);
    }
    engine.submit(request(&[1; 10])).expect("the queue is empty again");
}

#[test]
fn a_pool_smaller_than_the_context_lowers_the_context() {
    let kv_cache = ToyLm::kv_cache(4, 5).unwrap();
    let model = Box::new(ToyLm::new(VOCAB_SIZE));
    let engine = Engine::start(model, kv_cache, None, config()).unwrap();
    assert_eq!(engine.config().max_model_len, 20);
    let refused = engine.submit(request(&[1; 20])).unwrap_err();
    assert_eq!(refused, SubmitError::PromptTooLong { tokens: 20, limit: 20 });
    let (tokens, end) = collect(engine.submit(request(&[1; 10])).unwrap());
    assert_eq!((tokens.len(), summary(&end).reason), (10, FinishReason::ContextFull));
}

#[test]
fn limits_that_allow_nothing_are_refused_at_the_start() {
    let start = |num_blocks, config| {
        let kv_cache = ToyLm::kv_cache(1, num_blocks).unwrap();
        Engine::start(Box::new(ToyLm::new(VOCAB_SIZE)), kv_cache, None, config)
    };
    assert!(matches!(start(1, config()), Err(StartError::ContextTooSmall { tokens: 1 })));
    assert!(start(2, config()).is_ok());
    for (name, config) in [
        ("max_num_seqs", EngineConfig { max_num_seqs: 0, ..config() }),
        ("max_num_batched_tokens", EngineConfig { max_num_batched_tokens: 0, ..config() }),
        ("queued_requests_max", EngineConfig { queued_requests_max: 0, ..config() }),
    ] {
        match start(8, config) {
            Err(StartError::ZeroLimit { field }) => assert_eq!(field, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_step_has_room_for_every_running_sequence() {
    let model = Box::new(ToyLm::new(VOCAB_SIZE));
    let config = EngineConfig { max_num_seqs: 8, max_num_batched_tokens: 3, ..config() };
    let engine = Engine::start(model, ToyLm::kv_cache(4, 32).unwrap(), None, config).unwrap();
    assert_eq!(engine.config().max_num_seqs, 3);
}
