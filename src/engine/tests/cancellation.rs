//! Dropping a generation, in each state it can be in.

use std::thread;
use std::time::Duration;

use super::{Barrier, Rig, VOCAB_SIZE, assert_idle, config, request, start, start_with, summary};
use crate::engine::{EngineConfig, EngineHandle, EngineStats, GenerationRequest, TokenEvent};
use crate::model::toy::ToyLm;

fn rig(config: EngineConfig) -> Rig {
    Rig::new(ToyLm::new(VOCAB_SIZE), 4, 32, config)
}

/// Its blocks are back at once, and nothing is computed for it any more.
fn assert_gone(rig: &mut Rig, before: &EngineStats) {
    let stats = rig.stats();
    assert_idle(&stats);
    assert_eq!(stats.aborted_requests_total, before.aborted_requests_total + 1);
    rig.step();
    assert_eq!(rig.stats().computed_tokens_total, before.computed_tokens_total);
}

#[test]
fn a_queued_request_leaves_the_queue() {
    let mut rig = rig(EngineConfig { max_num_seqs: 1, ..config() });
    let running = rig.submit(request(&[1, 2])).unwrap();
    let queued = rig.submit(request(&[3, 4])).unwrap();
    rig.step();
    assert_eq!((rig.stats().num_running, rig.stats().num_waiting), (1, 1));
    rig.abort(queued);
    assert_eq!((rig.stats().num_running, rig.stats().num_waiting), (1, 0));
    rig.run();
    assert_eq!(summary(rig.clients[running].end.as_ref().unwrap()).num_generated_tokens, 16);
    assert!(rig.clients[queued].tokens.is_empty());
}

#[test]
fn a_request_within_its_prompt_gives_its_blocks_back() {
    let mut rig = rig(config());
    let id = rig.submit(request(&[1; 40])).unwrap();
    rig.step();
    let stats = rig.stats();
    assert_eq!((stats.computed_tokens_total, stats.num_used_blocks), (16, 10));
    rig.abort(id);
    assert_gone(&mut rig, &stats);
}

#[test]
fn a_request_within_its_output_gives_its_blocks_back() {
    let mut rig = rig(config());
    let id = rig.submit(request(&[1, 2, 3])).unwrap();
    for _ in 0..5 {
        rig.step();
    }
    assert_eq!(rig.clients[id].tokens.len(), 5);
    let stats = rig.stats();
    rig.abort(id);
    assert_gone(&mut rig, &stats);
}

#[test]
fn an_abort_after_the_end_does_nothing() {
    let mut rig = rig(config());
    let id = rig.submit(request(&[1, 2, 3])).unwrap();
    rig.run();
    let stats = rig.stats();
    rig.abort(id);
    rig.abort(id);
    assert_eq!(rig.stats(), stats);
    assert_eq!(stats.aborted_requests_total, 0);
}

#[test]
fn a_preempted_request_leaves_the_queue() {
    let config = EngineConfig { max_model_len: 24, ..config() };
    let mut rig = Rig::new(ToyLm::new(VOCAB_SIZE), 4, 6, config);
    let oldest = rig.submit(request(&[1; 8])).unwrap();
    let youngest = rig.submit(request(&[2; 8])).unwrap();
    while rig.stats().preemptions_total == 0 {
        rig.step();
    }
    rig.abort(youngest);
    rig.run();
    assert_eq!(rig.clients[oldest].tokens.len(), 16);
    assert_idle(&rig.stats());
}

#[test]
fn a_dropped_generation_is_gone_before_the_next_step() {
    let (model, barrier) = Barrier::new();
    let engine = start(model);
    let dropped = engine.submit(request(&[1; 30])).unwrap();
    barrier.wait_for_sequence();
    let mut kept = engine.submit(request(&[2; 3])).unwrap();
    drop(dropped);
    barrier.pass();
    // The next sequence that the model sees is the other request's.
    barrier.wait_for_sequence();
    assert_eq!(engine.stats().num_running, 1);
    assert_eq!(engine.stats().num_used_blocks, 1);
    barrier.pass();
    assert!(matches!(kept.blocking_next(), Some(TokenEvent::Token(_))));
}

#[test]
fn a_generation_dropped_after_its_last_token_is_no_abort() {
    let engine = start(ToyLm::new(VOCAB_SIZE));
    let asked = GenerationRequest { max_tokens: 1, ..request(&[1]) };
    let mut generation = engine.submit(asked).unwrap();
    assert!(matches!(generation.blocking_next(), Some(TokenEvent::Token(_))));
    drop(generation);
    let stats = wait_until_idle(&engine);
    assert_eq!((stats.finished_requests_total, stats.aborted_requests_total), (1, 0));
}

fn wait_until_idle(engine: &EngineHandle) -> EngineStats {
    for _ in 0..10_000 {
        let stats = engine.stats();
        if stats.num_running + stats.num_waiting == 0 {
            return stats;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("still {:?}", engine.stats());
}

#[test]
fn a_thousand_clients_leave_at_random_and_nothing_stays() {
    let engine = start_with(ToyLm::new(VOCAB_SIZE), config());
    thread::scope(|scope| {
        for client in 0..10u32 {
            let engine = &engine;
            scope.spawn(move || {
                for round in 0..100u32 {
                    let prompt = vec![(client + round) % 20; 1 + (round as usize * 7) % 40];
                    let mut generation = engine.submit(request(&prompt)).unwrap();
                    for _ in 0..(client * 31 + round * 17) % 19 {
                        generation.blocking_next();
                    }
                }
            });
        }
    });
    let stats = wait_until_idle(&engine);
    assert_idle(&stats);
    assert_eq!(stats.finished_requests_total + stats.aborted_requests_total, 1000);
    assert!(stats.aborted_requests_total > 0, "{stats:?}");
}
