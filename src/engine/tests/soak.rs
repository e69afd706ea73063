//! Long runs. `OUTCROP_SOAK_REQUESTS=100000 cargo test --lib engine::tests::soak` runs the long
//! version, in which the memory of the process is watched as well.

use std::collections::HashMap;
use std::fs;

use super::{Rig, VOCAB_SIZE, alone, assert_idle, collect, config, request, start};
use crate::engine::random::uniform;
use crate::engine::{EngineConfig, GenerationRequest, SamplingParams};
use crate::limits::PREEMPTIONS_PER_REQUEST_MAX;
use crate::model::toy::ToyLm;

const BLOCK_SIZE: usize = 4;
const MAX_NUM_SEQS: usize = 16;
const MAX_MODEL_LEN: usize = 64;

fn num_requests(usual: usize) -> usize {
    let soak = std::env::var("OUTCROP_SOAK_REQUESTS").ok();
    soak.map_or(usual, |count| count.parse().expect("OUTCROP_SOAK_REQUESTS is a number"))
}

fn is_long() -> bool {
    std::env::var_os("OUTCROP_SOAK_REQUESTS").is_some()
}

/// A whole number below `end`, the same in every run.
fn below(end: usize, purpose: u64, index: usize) -> usize {
    (uniform(purpose, index as u64) * end as f64) as usize
}

/// One of few requests, so that the text of each alone can be kept.
fn some_request(index: usize) -> GenerationRequest {
    let kind = below(400, 1, index);
    let text = (kind % 3) as u32;
    let num_shared = below(24, 2, kind);
    let prompt: Vec<u32> =
        (0..num_shared as u32).map(|at| (at * 7 + text) % 20).chain([kind as u32 % 23]).collect();
    let sampling = SamplingParams {
        temperature: [0.0, 0.8][kind % 2],
        seed: kind as u64,
        ..request(&[]).sampling
    };
    GenerationRequest { max_tokens: below(40, 3, kind), sampling, ..request(&prompt) }
}

#[test]
fn a_tenth_of_the_blocks_needed_serves_everyone() {
    let num_blocks = MAX_NUM_SEQS * MAX_MODEL_LEN / BLOCK_SIZE / 10;
    let num_requests = num_requests(1500);
    let tight = EngineConfig { max_num_seqs: MAX_NUM_SEQS, max_num_batched_tokens: 24, ..config() };
    let tight = EngineConfig { max_model_len: MAX_MODEL_LEN, ..tight };
    let mut rig = Rig::new(ToyLm::new(VOCAB_SIZE), BLOCK_SIZE, num_blocks, tight);
    let mut expected: HashMap<Vec<u32>, Vec<u32>> = HashMap::new();
    let mut num_aborted = 0;
    let mut submitted = 0;
    let mut in_flight: Vec<(usize, GenerationRequest)> = Vec::new();
    while submitted < num_requests || rig.core.has_work() {
        while submitted < num_requests && in_flight.len() < 2 * MAX_NUM_SEQS {
            let request = some_request(submitted);
            in_flight.push((rig.submit(request.clone()).unwrap(), request));
            submitted += 1;
        }
        rig.step();
        if below(25, 4, rig.stats().steps_total as usize) == 0 && !in_flight.is_empty() {
            let leaving = below(in_flight.len(), 5, submitted);
            let (client, _) = in_flight.swap_remove(leaving);
            num_aborted += u64::from(rig.clients[client].end.is_none());
            rig.abort(client);
        }
        in_flight.retain(|(client, request)| {
            let client = &mut rig.clients[*client];
            if client.end.is_none() {
                return true;
            }
            let mut key = request.prompt.clone();
            key.push(request.sampling.seed as u32);
            let reference = || alone(request.clone(), MAX_MODEL_LEN).tokens;
            assert_eq!(&client.tokens, expected.entry(key).or_insert_with(reference));
            client.tokens = Vec::new();
            false
        });
    }
    let stats = rig.stats();
    assert_idle(&stats);
    assert_eq!(stats.aborted_requests_total, num_aborted);
    assert_eq!(stats.finished_requests_total + num_aborted, num_requests as u64);
    let per_request = stats.preemptions_total as f64 / num_requests as f64;
    println!(
        "{num_requests} requests, {} steps, {per_request:.3} preemptions a request, {:.0} % of \
         prompt tokens from the prefix cache",
        stats.steps_total,
        100.0 * stats.prefix_cache_hit_tokens_total as f64 / stats.prompt_tokens_total as f64,
    );
    assert!(stats.preemptions_total > 0, "the pool is too large for this test");
    assert!(per_request < PREEMPTIONS_PER_REQUEST_MAX as f64 / 2.0, "{stats:?}");
    assert!(stats.prefix_cache_hit_tokens_total > 0);
}

/// Resident memory in KiB.
fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn requests_leave_no_memory_behind() {
    let num_requests = num_requests(2000);
    let engine = start(ToyLm::new(VOCAB_SIZE));
    let mut after_warm_up = 0;
    let mut in_flight = std::collections::VecDeque::new();
    for index in 0..num_requests {
        let asked = GenerationRequest { max_tokens: 4, ..some_request(index) };
        in_flight.push_back(engine.submit(asked).unwrap());
        if in_flight.len() == 8 {
            let oldest = in_flight.pop_front().unwrap();
            if index % 3 > 0 {
                collect(oldest);
            }
        }
        if index == num_requests / 5 {
            after_warm_up = resident_kib();
        }
    }
    in_flight.into_iter().for_each(|generation| drop(collect(generation)));
    let stats = engine.stats();
    assert_eq!(stats.finished_requests_total + stats.aborted_requests_total, num_requests as u64);
    // Aborts are still on their way only if a generation was dropped last, which it was not.
    assert_idle(&stats);
    let grown = resident_kib().saturating_sub(after_warm_up);
    println!("{num_requests} requests, {grown} KiB grown");
    // Other tests share the process in a usual run.
    assert!(!is_long() || grown < 1024, "{grown} KiB");
}
