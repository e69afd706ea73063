//! Too few blocks: the youngest waits, the oldest goes on, and nobody waits for ever.

use super::{Rig, VOCAB_SIZE, alone, assert_idle, config, request, summary};
use crate::engine::{EngineConfig, GenerationRequest};
use crate::limits::PREEMPTIONS_PER_REQUEST_MAX;
use crate::model::toy::ToyLm;

/// Blocks of one token, so that every sequence wants a block in every step.
fn rig(num_blocks: usize) -> Rig {
    let config = EngineConfig {
        max_model_len: num_blocks,
        max_num_seqs: 16,
        max_num_batched_tokens: 64,
        ..config()
    };
    Rig::new(ToyLm::new(VOCAB_SIZE), 1, num_blocks, config)
}

fn num_preemptions(rig: &Rig, client: usize) -> usize {
    summary(rig.clients[client].end.as_ref().unwrap()).num_preemptions
}

#[test]
fn a_request_is_protected_once_it_was_preempted_often_enough() {
    let mut rig = rig(60);
    // Each of the older ones makes room when it ends and takes it up again as the others grow.
    // Without protection the youngest would be preempted once more than the limit.
    let older: Vec<_> = (0..10)
        .map(|at| GenerationRequest { max_tokens: 8 + 3 * at, ..request(&[at as u32]) })
        .collect();
    for request in &older {
        rig.submit(request.clone()).unwrap();
    }
    let asked = GenerationRequest { max_tokens: 45, ..request(&[20, 20]) };
    let youngest = rig.submit(asked.clone()).unwrap();
    rig.run();
    assert_eq!(num_preemptions(&rig, youngest), PREEMPTIONS_PER_REQUEST_MAX);
    assert_eq!(num_preemptions(&rig, 0), 0, "the oldest is never preempted");
    for (client, request) in rig.clients.iter().zip(older.into_iter().chain([asked])) {
        assert_eq!(client.tokens, alone(request, 60).tokens);
    }
    assert_idle(&rig.stats());
}

#[test]
fn the_oldest_progresses_in_every_step() {
    let mut rig = rig(40);
    for first in 0..10 {
        rig.submit(GenerationRequest { max_tokens: 25, ..request(&[first; 9]) }).unwrap();
    }
    while rig.core.has_work() {
        let oldest = rig.clients.iter().position(|client| client.end.is_none()).unwrap();
        let before = rig.clients[oldest].tokens.len();
        rig.step();
        assert!(rig.clients[oldest].tokens.len() > before);
    }
    assert!(rig.stats().preemptions_total > 0);
}

#[test]
fn nobody_is_admitted_to_be_preempted_by_the_next_token() {
    let mut rig = rig(10);
    let oldest = GenerationRequest { max_tokens: 5, ..request(&[1; 5]) };
    rig.submit(oldest).unwrap();
    rig.step();
    // It would fit exactly, but then the oldest could not go on.
    rig.submit(GenerationRequest { max_tokens: 2, ..request(&[2; 4]) }).unwrap();
    rig.run();
    assert_eq!(rig.stats().preemptions_total, 0);
    assert_eq!(rig.stats().finished_requests_total, 2);
}

#[test]
fn decoding_goes_on_beside_a_long_prompt() {
    let chunk = EngineConfig { max_num_batched_tokens: 4, max_num_seqs: 4, ..config() };
    let mut rig = Rig::new(ToyLm::new(VOCAB_SIZE), 4, 32, chunk);
    let decoding = rig.submit(request(&[1, 2])).unwrap();
    rig.step();
    let prompt: Vec<u32> = (0..30).map(|at| at % 20).collect();
    let long = rig.submit(request(&prompt)).unwrap();
    for step in 0..10 {
        assert_eq!(rig.clients[decoding].tokens.len(), 1 + step);
        assert!(rig.clients[long].tokens.is_empty());
        rig.step();
    }
    assert_eq!(rig.clients[long].tokens.len(), 1, "three tokens of the prompt in each step");
}
