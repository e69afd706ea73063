//! Through the handle: answers, draining, and the end of the thread.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::{
    Barrier, VOCAB_SIZE, alone, assert_idle, collect, config, request, start, start_with, summary,
};
use crate::engine::{EngineConfig, FinishReason, GenerationRequest, SubmitError, TokenEvent};
use crate::model::toy::{ToyLm, ToyReply};

#[test]
fn a_recited_answer_comes_back_and_leaves_nothing_behind() {
    let answers = vec![(vec![1, 2, 3], vec![5, 6, 7])];
    let engine = start(ToyLm::reciting(VOCAB_SIZE, answers, 9));
    let asked = GenerationRequest { stop_ids: Arc::from([9]), ..request(&[1, 2, 3]) };
    let (tokens, end) = collect(engine.submit(asked).unwrap());
    assert_eq!(tokens, [5, 6, 7]);
    let summary = summary(&end);
    assert_eq!(summary.reason, FinishReason::Stop);
    assert_eq!((summary.num_prompt_tokens, summary.num_generated_tokens), (3, 3));
    assert_idle(&engine.stats());
}

#[tokio::test]
async fn events_can_be_awaited() {
    let engine = start(ToyLm::new(VOCAB_SIZE));
    let mut generation = engine.submit(request(&[1, 2, 3])).unwrap();
    let mut tokens = Vec::new();
    while let Some(event) = generation.next().await {
        if let TokenEvent::Token(token) = event {
            tokens.push(token);
        }
    }
    assert_eq!(tokens, alone(request(&[1, 2, 3]), 64).tokens);
    assert_eq!(generation.next().await, None);
}

#[test]
fn a_known_prefix_is_not_computed_again() {
    let engine = start(ToyLm::new(VOCAB_SIZE));
    let prompt = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    let (first, end) = collect(engine.submit(request(&prompt)).unwrap());
    assert_eq!(summary(&end).num_cached_tokens, 0);
    let computed = engine.stats().computed_tokens_total;
    let (second, end) = collect(engine.submit(request(&prompt)).unwrap());
    assert_eq!(summary(&end).num_cached_tokens, 8);
    assert_eq!(engine.stats().computed_tokens_total, 2 * computed - 8);
    assert_eq!(first, second);
    // The last token of a prompt is computed even if all its blocks are known.
    let (_, end) = collect(engine.submit(request(&prompt[..8])).unwrap());
    assert_eq!(summary(&end).num_cached_tokens, 4);
    let stats = engine.stats();
    assert_eq!(stats.prefix_cache_queried_tokens_total, 9 + 9 + 8);
    assert_eq!(stats.prefix_cache_hit_tokens_total, 12);

    let without = EngineConfig { prefix_cache: false, ..config() };
    let engine = start_with(ToyLm::new(VOCAB_SIZE), without);
    for _ in 0..2 {
        let (_, end) = collect(engine.submit(request(&prompt)).unwrap());
        assert_eq!(summary(&end).num_cached_tokens, 0);
    }
    assert_eq!(engine.stats().num_cached_blocks, 0);
}

#[tokio::test]
async fn a_draining_engine_finishes_what_it_accepted() {
    let (model, mut barrier) = Barrier::new();
    let engine = start_with(model, EngineConfig { max_num_seqs: 1, ..config() });
    let mut accepted: Vec<_> =
        (0..3).map(|first| engine.submit(request(&[first])).unwrap()).collect();
    engine.start_draining();
    engine.start_draining();
    assert_eq!(engine.submit(request(&[1])).unwrap_err(), SubmitError::Draining);
    assert!(engine.is_healthy());
    let short = Duration::from_millis(20);
    assert!(tokio::time::timeout(short, engine.drained()).await.is_err(), "three are left");
    barrier.open();
    engine.drained().await;
    assert_idle(&engine.stats());
    for generation in &mut accepted {
        let mut num_tokens = 0;
        while let Some(event) = generation.next().await {
            num_tokens += usize::from(matches!(event, TokenEvent::Token(_)));
        }
        assert_eq!(num_tokens, 16, "events wait for a client that reads late");
    }
}

/// Tells when it is dropped, and with it the model.
struct Farewell(mpsc::Sender<()>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[test]
fn the_thread_ends_with_the_last_handle_and_the_last_generation() {
    let (sender, receiver) = mpsc::channel();
    let farewell = Farewell(sender);
    let engine = start(ToyLm::scripted(VOCAB_SIZE, move |_| {
        let _ = &farewell;
        ToyReply::Hash
    }));
    let generation = engine.clone().submit(request(&[1, 2])).unwrap();
    drop(engine);
    let short = Duration::from_millis(20);
    assert_eq!(receiver.recv_timeout(short), Err(mpsc::RecvTimeoutError::Timeout));
    let mut generation = generation;
    let mut num_events = 0;
    while generation.blocking_next().is_some() {
        num_events += 1;
    }
    assert_eq!(num_events, 17, "accepted requests outlive the handles");
    drop(generation);
    receiver.recv_timeout(Duration::from_secs(10)).expect("the model is dropped");
}
