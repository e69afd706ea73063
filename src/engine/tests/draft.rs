//! A draft model guesses, and nothing but the number of steps is different.

use std::sync::Arc;

use proptest::prelude::*;

use super::equality::{load, run_on};
use super::{Rig, VOCAB_SIZE, alone, assert_idle, config, request, summary};
use crate::engine::{EngineConfig, GenerationRequest, SamplingParams, Speculation};
use crate::model::toy::{ToyLm, ToyReply};

fn rig(draft: ToyLm, config: EngineConfig) -> Rig {
    let mut rig = Rig::drafted(ToyLm::new(VOCAB_SIZE), Some(draft), (4, 64), config);
    rig.core.keep_draft_model_only();
    rig
}

fn drafting(num: usize) -> EngineConfig {
    EngineConfig { max_model_len: 128, speculation: Speculation::Always(num), ..config() }
}

fn sampled(seed: u64) -> GenerationRequest {
    let sampling = SamplingParams {
        temperature: 1.5,
        top_p: 0.95,
        repetition_penalty: 1.1,
        seed,
        ..request(&[]).sampling
    };
    GenerationRequest { max_tokens: 60, sampling, logprobs: Some(2), ..request(&[3, 4]) }
}

/// Drawn by the same random number, the same model's guess is what it writes: also where it
/// samples.
#[test]
fn a_draft_of_the_same_opinion_is_always_right() {
    for seed in 0..20 {
        let mut rig = rig(ToyLm::new(VOCAB_SIZE), drafting(5));
        rig.submit(sampled(seed)).unwrap();
        rig.run();
        let (client, stats) = (&rig.clients[0], rig.stats());
        let plain = alone(sampled(seed), 128);
        assert_eq!((&client.tokens, &client.logprobs), (&plain.tokens, &plain.logprobs));
        assert_eq!(stats.accepted_draft_tokens_total, stats.draft_tokens_total);
        assert_eq!(stats.steps_total, 10, "six tokens in each step");
        assert_eq!(summary(client.end.as_ref().unwrap()).num_guessed_tokens, 50);
        assert_idle(&stats);
    }
}

/// What the draft model has computed is shared like what the model has.
#[test]
fn a_shared_prefix_is_not_read_again_by_the_draft_model() {
    let prompt: Vec<u32> = (0..41).map(|at| at * 7 % 19).collect();
    let num_rows = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&num_rows);
    // Rows are counted by what the context has grown by.
    let mut longest = 0;
    let draft = ToyLm::scripted(VOCAB_SIZE, move |step| {
        let len = step.tokens.len();
        counted.fetch_add(len.saturating_sub(longest).max(1), std::sync::atomic::Ordering::Relaxed);
        longest = longest.max(len);
        ToyReply::Hash
    });
    let wide = EngineConfig { max_num_batched_tokens: 64, ..drafting(3) };
    let mut rig = rig(draft, wide);
    for seed in 0..2 {
        let asked = GenerationRequest { max_tokens: 8, prompt: prompt.clone(), ..sampled(seed) };
        rig.submit(asked).unwrap();
        rig.run();
    }
    let stats = rig.stats();
    assert_eq!(summary(rig.clients[1].end.as_ref().unwrap()).num_cached_tokens, 40);
    assert_eq!(stats.accepted_draft_tokens_total, stats.draft_tokens_total);
    // The first reads the prompt and some of its answer, the second only its own.
    assert!(num_rows.load(std::sync::atomic::Ordering::Relaxed) < 41 + 2 * 8 + 8, "{num_rows:?}");
}

#[test]
fn a_draft_model_that_fails_or_makes_no_numbers_costs_its_guesses_only() {
    for reply in [ToyReply::Fail("broken".into()), ToyReply::NotANumber, ToyReply::Token(1)] {
        let draft = ToyLm::scripted(VOCAB_SIZE, move |step| {
            if step.tokens.len() > 20 { reply.clone() } else { ToyReply::Hash }
        });
        let mut rig = rig(draft, drafting(4));
        for seed in 0..3 {
            rig.submit(sampled(seed)).unwrap();
        }
        rig.run();
        for (seed, client) in rig.clients.iter().enumerate() {
            assert_eq!(client.tokens, alone(sampled(seed as u64), 128).tokens);
        }
        assert!(rig.stats().accepted_draft_tokens_total > 0);
        assert_eq!(rig.stats().failed_requests_total, 0);
        assert_idle(&rig.stats());
    }
}

/// A smaller table of embeddings than the model's has no rows for some tokens.
#[test]
fn tokens_that_only_one_of_the_two_knows_end_guessing() {
    let mut rig = rig(ToyLm::new(VOCAB_SIZE - 6), drafting(4));
    let unknown = VOCAB_SIZE as u32 - 1;
    let answers = [request(&[unknown, 2, 3]), request(&[1, 2, 3])];
    for asked in &answers {
        rig.submit(asked.clone()).unwrap();
    }
    rig.run();
    for (client, asked) in rig.clients.iter().zip(answers) {
        assert_eq!(client.tokens, alone(asked, 128).tokens);
    }
    let mut rig = self::rig(ToyLm::new(VOCAB_SIZE + 40), drafting(4));
    rig.submit(sampled(3)).unwrap();
    rig.run();
    assert_eq!(rig.clients[0].tokens, alone(sampled(3), 128).tokens);
}

proptest! {
    /// The draft's text depends on all that is in its cache. If a key or value were not that of the
    /// sequence, after preemption, cancellation, a prefix that was found or guesses that were
    /// dropped, it would guess something else than the model, which is the same.
    #[test]
    fn the_caches_of_model_and_draft_are_in_step(mut load in load(), num in 1usize..8) {
        load.config.speculation = Speculation::Always(num);
        for arrival in &mut load.arrivals {
            arrival.request.reasoning_budget = None;
            arrival.constrained = false;
        }
        let blocks = (load.block_size, load.num_blocks);
        let (model, draft) = (ToyLm::new(VOCAB_SIZE), ToyLm::new(VOCAB_SIZE));
        let mut rig = Rig::drafted(model, Some(draft), blocks, load.config.clone());
        rig.core.keep_draft_model_only();
        let rig = run_on(rig, &load);
        let stats = rig.stats();
        prop_assert_eq!(stats.accepted_draft_tokens_total, stats.draft_tokens_total);
    }
}
