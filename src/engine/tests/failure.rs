//! Rows that are not numbers, errors, panics, and models that never stop.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{
    Rig, VOCAB_SIZE, alone, assert_idle, collect, config, request, start, start_with, summary,
};
use crate::engine::{
    EngineConfig, FinishReason, GenerationError, GenerationRequest, ReasoningBudget, SubmitError,
    TokenEvent,
};
use crate::model::toy::{ToyLm, ToyReply};

/// Poisons every context it is part of, as a NaN in a cache of keys and values does.
const POISON: u32 = 23;

fn poisonable(is_poisonous: Arc<AtomicBool>) -> ToyLm {
    ToyLm::scripted(VOCAB_SIZE, move |step| {
        if is_poisonous.load(Ordering::Relaxed) && step.tokens.contains(&POISON) {
            ToyReply::NotANumber
        } else {
            ToyReply::Hash
        }
    })
}

#[test]
fn a_row_that_is_not_a_number_fails_its_request_only() {
    let mut rig = Rig::new(poisonable(Arc::new(AtomicBool::new(true))), 4, 32, config());
    // The model itself may draw the poison, which then must not be part of the context.
    let healthy = [&[1, 2, 3], &[4, 4, 4], &[5, 6, 7]]
        .map(|prompt| GenerationRequest { stop_ids: Arc::from([POISON]), ..request(prompt) });
    rig.submit(healthy[0].clone()).unwrap();
    let poisoned = rig.submit(request(&[7, POISON, 8])).unwrap();
    rig.submit(healthy[1].clone()).unwrap();
    rig.submit(healthy[2].clone()).unwrap();
    rig.run();
    let failed = rig.clients.remove(poisoned);
    assert_eq!(failed.end, Some(TokenEvent::Failed(GenerationError::NotANumber)));
    assert!(failed.tokens.is_empty());
    for (client, request) in rig.clients.iter().zip(healthy) {
        assert_eq!(client.tokens, alone(request, 64).tokens);
    }
    assert_eq!((rig.stats().not_a_number_total, rig.stats().failed_requests_total), (1, 1));
    assert_idle(&rig.stats());
}

#[test]
fn no_poisoned_block_is_ever_shared() {
    for position in 0..30 {
        let is_poisonous = Arc::new(AtomicBool::new(true));
        let chunk = EngineConfig { max_num_batched_tokens: 8, ..config() };
        let mut rig = Rig::new(poisonable(Arc::clone(&is_poisonous)), 4, 32, chunk);
        let mut prompt: Vec<u32> = (0..30).map(|at| at % 19).collect();
        prompt[position] = POISON;
        rig.submit(request(&prompt)).unwrap();
        rig.run();
        assert_eq!(rig.clients[0].end, Some(TokenEvent::Failed(GenerationError::NotANumber)));

        is_poisonous.store(false, Ordering::Relaxed);
        rig.submit(request(&prompt)).unwrap();
        rig.run();
        let summary = summary(rig.clients[1].end.as_ref().unwrap());
        assert_eq!(summary.num_cached_tokens, position / 8 * 8, "whole chunks before the poison");
        assert_eq!(rig.clients[1].tokens, alone(request(&prompt), 64).tokens);
    }
}

#[test]
fn an_error_fails_the_requests_of_its_step_and_no_others() {
    let num_calls = AtomicUsize::new(0);
    let model =
        ToyLm::scripted(VOCAB_SIZE, move |_| match num_calls.fetch_add(1, Ordering::Relaxed) {
            5 => ToyReply::Fail("out of memory".into()),
            _ => ToyReply::Hash,
        });
    let mut rig = Rig::new(model, 4, 32, EngineConfig { max_num_seqs: 2, ..config() });
    for first in 0..3 {
        rig.submit(request(&[first, 2, 3])).unwrap();
    }
    rig.run();
    for client in &rig.clients[..2] {
        let Some(TokenEvent::Failed(GenerationError::Model(reason))) = &client.end else {
            panic!("{client:?}")
        };
        assert!(reason.contains("out of memory"));
        assert_eq!(client.tokens.len(), 2, "what came before the error was sent");
    }
    assert_eq!(rig.clients[2].tokens, alone(request(&[2, 2, 3]), 64).tokens);
    assert_eq!(rig.stats().failed_requests_total, 2);
    assert_idle(&rig.stats());
}

#[test]
fn a_panic_ends_every_request_once_and_closes_the_engine() {
    for point in 0..20 {
        let mut num_calls = 0;
        let model = ToyLm::scripted(VOCAB_SIZE, move |_| {
            if num_calls == point {
                // Unwinds like a panic but does not print.
                resume_unwind(Box::new("a broken kernel"));
            }
            num_calls += 1;
            ToyReply::Hash
        });
        let engine = start_with(model, EngineConfig { max_num_seqs: 2, ..config() });
        // The engine may fail before the last of them is submitted.
        // None ends before the panic, even if it is alone for a while.
        let asked = |first| GenerationRequest { max_tokens: 40, ..request(&[first, 2, 3]) };
        let accepted: Vec<_> = (0..5).map(|first| engine.submit(asked(first))).collect();
        let ends: Vec<_> = accepted.into_iter().flatten().map(|it| collect(it).1).collect();
        assert!(!ends.is_empty());
        let panicked = TokenEvent::Failed(GenerationError::Model("it panicked".into()));
        let stopped = TokenEvent::Failed(GenerationError::EngineStopped);
        let count = |wanted: &TokenEvent| ends.iter().filter(|end| *end == wanted).count();
        assert!((1..=2).contains(&count(&panicked)), "at point {point}: {ends:?}");
        assert_eq!(count(&panicked) + count(&stopped), ends.len(), "at point {point}: {ends:?}");

        assert!(!engine.is_healthy());
        assert_eq!(engine.submit(request(&[1])).unwrap_err(), SubmitError::Failed);
        assert_idle(&engine.stats());
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(engine.drained());
    }
}

#[test]
fn a_lost_device_ends_every_request_and_closes_the_engine() {
    let num_calls = AtomicUsize::new(0);
    let model = ToyLm::scripted(VOCAB_SIZE, move |_| {
        let call = num_calls.fetch_add(1, Ordering::Relaxed);
        assert!(call < 10, "a device that is lost is not asked again");
        if call == 9 { ToyReply::Lose } else { ToyReply::Hash }
    });
    let engine = start_with(model, EngineConfig { max_num_seqs: 2, ..config() });
    let asked = |first| GenerationRequest { max_tokens: 40, ..request(&[first, 2, 3]) };
    let accepted: Vec<_> = (0..5).map(|first| engine.submit(asked(first))).collect();
    let ends: Vec<_> = accepted.into_iter().flatten().map(|it| collect(it).1).collect();
    let is_of_step = |end: &&TokenEvent| match end {
        TokenEvent::Failed(GenerationError::Model(why)) => why.contains("lost"),
        _ => false,
    };
    let num_of_step = ends.iter().filter(is_of_step).count();
    assert!((1..=2).contains(&num_of_step), "{ends:?}");
    let stopped = TokenEvent::Failed(GenerationError::EngineStopped);
    let num_stopped = ends.iter().filter(|end| **end == stopped).count();
    assert_eq!(num_of_step + num_stopped, ends.len(), "{ends:?}");

    assert!(!engine.is_healthy());
    assert_eq!(engine.submit(request(&[1])).unwrap_err(), SubmitError::Failed);
    assert_idle(&engine.stats());
}

#[test]
fn the_end_of_an_engine_can_be_waited_for() {
    struct Slow(Arc<AtomicBool>);
    impl Drop for Slow {
        fn drop(&mut self) {
            std::thread::sleep(Duration::from_millis(50));
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let is_given_back = Arc::new(AtomicBool::new(false));
    let held = Slow(Arc::clone(&is_given_back));
    let model = ToyLm::scripted(VOCAB_SIZE, move |_| {
        let _ = &held;
        ToyReply::Hash
    });
    let engine = start(model);
    let end = engine.end();
    collect(engine.submit(request(&[1])).unwrap());
    end.wait(Duration::from_millis(1));
    assert!(!is_given_back.load(Ordering::Relaxed), "there is a handle");
    drop(engine);
    end.wait(Duration::from_secs(60));
    assert!(is_given_back.load(Ordering::Relaxed));
}

#[test]
fn a_model_that_never_stops_ends_at_its_limits() {
    let looping = || ToyLm::scripted(VOCAB_SIZE, |_| ToyReply::Token(5));
    let (tokens, end) = collect(start(looping()).submit(request(&[1])).unwrap());
    assert_eq!((tokens, summary(&end).reason), (vec![5; 16], FinishReason::MaxTokens));

    let budget = ReasoningBudget {
        max_tokens: 6,
        starts_open: true,
        open_id: 10,
        close_id: 11,
        closing_ids: Arc::from([9, 11, 9]),
        leading_ids: Arc::from([]),
    };
    let asked = GenerationRequest { reasoning_budget: Some(budget), ..request(&[1]) };
    let (tokens, end) = collect(start(looping()).submit(asked).unwrap());
    assert_eq!(tokens, [5, 5, 5, 5, 5, 5, 9, 11, 9, 5, 5, 5, 5, 5, 5, 5]);
    let summary = summary(&end);
    assert_eq!((summary.reason, summary.num_reasoning_tokens), (FinishReason::MaxTokens, 6));
    assert_eq!(summary.num_generated_tokens, 16);
}

#[test]
fn a_reasoning_part_that_loops_is_closed_and_the_answer_follows() {
    let model = ToyLm::scripted(VOCAB_SIZE, |step| match step.tokens.contains(&11) {
        true if step.tokens.ends_with(&[6]) => ToyReply::Token(0),
        true => ToyReply::Token(6),
        false => ToyReply::Token(5),
    });
    let budget = ReasoningBudget {
        max_tokens: 3,
        starts_open: false,
        open_id: 5,
        close_id: 11,
        closing_ids: Arc::from([11]),
        leading_ids: Arc::from([]),
    };
    let asked = GenerationRequest {
        reasoning_budget: Some(budget),
        stop_ids: Arc::from([0]),
        ..request(&[1])
    };
    let (tokens, end) = collect(start(model).submit(asked).unwrap());
    assert_eq!(tokens, [5, 5, 5, 5, 11, 6]);
    assert_eq!(summary(&end).reason, FinishReason::Stop);
}
