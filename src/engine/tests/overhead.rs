//! What a step costs beside the model.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{config, request};
use crate::engine::batch::{LogitsUse, RowOutcome, StepEvents};
use crate::engine::random::uniform;
use crate::engine::sampler::Sampler;
use crate::engine::scheduler::Scheduler;
use crate::engine::sequence::{Sequence, SequenceId};
use crate::engine::{EngineConfig, GenerationRequest, SamplingParams};
use crate::model::ModelInput;

const NUM_SEQS: usize = 64;
const BLOCK_SIZE: usize = 16;

/// Far above what is measured, so that only an error of order fails: work that grows with the
/// context or with the queue.
const STEP_PER_SEQUENCE_MAX: Duration = Duration::from_micros(100);

/// Decodes `NUM_SEQS` sequences behind prompts of `num_prompt_tokens`, with `num_waiting` requests
/// in the queue, and returns the median time of a step per sequence.
fn step_per_sequence(num_prompt_tokens: usize, num_waiting: usize) -> Duration {
    let max_model_len = num_prompt_tokens + 300;
    let config = EngineConfig {
        max_model_len,
        max_num_seqs: NUM_SEQS,
        max_num_batched_tokens: 4096,
        ..config()
    };
    let num_blocks = (NUM_SEQS + 1) * max_model_len.div_ceil(BLOCK_SIZE);
    let mut scheduler = Scheduler::new(&config, BLOCK_SIZE, num_blocks);
    for id in 0..NUM_SEQS + num_waiting {
        let prompt: Vec<u32> = (0..num_prompt_tokens).map(|at| (at * (id + 1)) as u32).collect();
        let asked =
            GenerationRequest { max_tokens: 1000, stop_ids: Arc::from([1, 2]), ..request(&prompt) };
        scheduler.add(Sequence::new(SequenceId(id as u64), asked, None, max_model_len));
    }
    let mut input = ModelInput::default();
    let mut events = StepEvents::default();
    let mut step = || {
        let batch = scheduler.schedule();
        batch.fill(scheduler.running(), &mut input);
        scheduler.commit(&batch, &mut events, |_, wanted, _| match wanted {
            LogitsUse::None | LogitsUse::Check => RowOutcome::Finite,
            LogitsUse::Sample => RowOutcome::Sampled(7, None),
        });
        events.clear();
        batch.seqs.len() == NUM_SEQS && batch.num_rows() == NUM_SEQS
    };
    while !step() {}
    let timed_step = |_| {
        let start = Instant::now();
        assert!(black_box(step()), "all sequences decode");
        start.elapsed()
    };
    let mut times: Vec<_> = (0..101).map(timed_step).collect();
    times.sort_unstable();
    times[times.len() / 2] / NUM_SEQS as u32
}

#[test]
fn a_step_costs_microseconds_per_sequence() {
    for (num_prompt_tokens, num_waiting) in [(100, 0), (2000, 0), (100, 5000)] {
        let cost = step_per_sequence(num_prompt_tokens, num_waiting);
        println!(
            "{NUM_SEQS} sequences of {num_prompt_tokens} tokens, {num_waiting} waiting: \
             {cost:?} a sequence and step"
        );
        assert!(cost < STEP_PER_SEQUENCE_MAX);
    }
}

/// Sums of eight uniform numbers, around 0 with a standard deviation of 3: few tokens are likely,
/// as with a real model.
fn bell_shaped_logits(vocab_size: u64) -> Vec<f32> {
    let sum = |id: u64| (0..8).map(|part| uniform(id, part)).sum::<f64>();
    (0..vocab_size).map(|id| (sum(id) - 4.0) as f32 * 3.7).collect()
}

#[test]
fn a_row_is_sampled_faster_than_sorted() {
    let logits = bell_shaped_logits(152_064);
    let start = Instant::now();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_unstable_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let sorting = start.elapsed();
    black_box(order);

    let mut sampler = Sampler::default();
    let plain = SamplingParams { temperature: 0.6, ..request(&[]).sampling };
    let cases = [
        ("greedy", request(&[]).sampling),
        ("temperature", plain.clone()),
        ("top_p", SamplingParams { top_p: 0.95, ..plain.clone() }),
        ("top_k", SamplingParams { top_k: 50, ..plain.clone() }),
        ("all tokens likely, top_p", SamplingParams { temperature: 50.0, top_p: 0.9, ..plain }),
    ];
    for (name, params) in cases {
        let timed_sample = |index| {
            let start = Instant::now();
            black_box(sampler.sample(&logits, None, &params, &[], index));
            start.elapsed()
        };
        let cost = (0..5).map(timed_sample).min().unwrap();
        println!("{name}: {cost:?} a row of {}, sorting it takes {sorting:?}", logits.len());
        assert!(cost < sorting, "{name}");
    }
}
