//! Guesses save steps and nothing else is different.

use std::sync::Arc;

use super::equality::model;
use super::{Client, Rig, VOCAB_SIZE, assert_idle, config, request, summary};
use crate::engine::{
    EngineConfig, EngineStats, GenerationError, GenerationRequest, SamplingParams, Speculation,
    TokenEvent,
};
use crate::model::toy::{ToyLm, ToyReply};

fn run(
    model: ToyLm,
    config: EngineConfig,
    requests: &[GenerationRequest],
) -> (Vec<Client>, EngineStats) {
    let mut rig = Rig::new(model, 4, 64, config);
    for request in requests {
        rig.submit(request.clone()).unwrap();
    }
    rig.run();
    let stats = rig.stats();
    assert_idle(&stats);
    (rig.clients, stats)
}

fn speculating(speculation: Speculation) -> EngineConfig {
    EngineConfig { max_model_len: 128, speculation, ..config() }
}

/// The same with sampling, penalties and log probabilities.
fn some_requests() -> Vec<GenerationRequest> {
    let plain = GenerationRequest { max_tokens: 60, logprobs: Some(2), ..request(&[3, 4]) };
    let sampling = SamplingParams { temperature: 0.8, seed: 5, ..plain.sampling.clone() };
    let penalized = SamplingParams { repetition_penalty: 1.3, ..sampling.clone() };
    let ends = GenerationRequest { stop_ids: Arc::from([6]), ..plain.clone() };
    vec![
        GenerationRequest { sampling, ..plain.clone() },
        GenerationRequest { sampling: penalized, ..plain.clone() },
        ends,
        plain,
    ]
}

#[test]
fn right_guesses_save_steps_and_change_nothing() {
    for request in some_requests() {
        let requests = [request];
        let (plain, slow) = run(model(true), speculating(Speculation::Off), &requests);
        for mode in [Speculation::Auto, Speculation::Always(1), Speculation::Always(5)] {
            let (clients, stats) = run(model(true), speculating(mode), &requests);
            assert_eq!(clients[0].tokens, plain[0].tokens, "{mode:?}");
            assert_eq!(clients[0].logprobs, plain[0].logprobs);
            let [found, expected] =
                [&clients[0], &plain[0]].map(|it| summary(it.end.as_ref().unwrap()));
            assert_eq!(found.reason, expected.reason);
            assert_eq!(found.num_guessed_tokens as u64, stats.accepted_draft_tokens_total);
            assert!(stats.draft_tokens_total >= stats.drafts_total);
            let saved = slow.steps_total - stats.steps_total;
            assert!(saved <= stats.accepted_draft_tokens_total, "{mode:?}: {stats:?}");
            let long = plain[0].tokens.len() == 60;
            assert!(!long || mode == Speculation::Auto || saved > 10, "{mode:?}: {stats:?}");
        }
    }
}

#[test]
fn wrong_guesses_cost_no_steps_and_no_blocks() {
    let requests = some_requests();
    let (plain, slow) = run(ToyLm::new(VOCAB_SIZE), speculating(Speculation::Off), &requests);
    let (clients, stats) =
        run(ToyLm::new(VOCAB_SIZE), speculating(Speculation::Always(5)), &requests);
    for (client, plain) in clients.iter().zip(&plain) {
        assert_eq!(client.tokens, plain.tokens);
    }
    assert!(stats.draft_tokens_total > 2 * stats.accepted_draft_tokens_total, "{stats:?}");
    assert!(stats.steps_total <= slow.steps_total);
}

/// A second request with the same beginning reads the blocks of the first, which were computed
/// behind guesses, right and wrong ones.
#[test]
fn only_what_was_verified_is_shared() {
    let config = speculating(Speculation::Always(5));
    let mut rig = Rig::new(model(true), 4, 64, config.clone());
    let first = rig.submit(GenerationRequest { max_tokens: 60, ..request(&[3, 4]) }).unwrap();
    rig.run();
    let answer = rig.clients[first].tokens.clone();
    for len in [9, 17, 30, 50] {
        let prompt: Vec<u32> = [3, 4].iter().chain(&answer[..len]).copied().collect();
        let asked = GenerationRequest { max_tokens: 60 - len, ..request(&prompt) };
        let again = rig.submit(asked).unwrap();
        rig.run();
        assert_eq!(rig.clients[again].tokens, answer[len..]);
        let end = rig.clients[again].end.as_ref().unwrap();
        assert_eq!(summary(end).num_cached_tokens, (len + 1) / 4 * 4);
    }
}

#[test]
fn guesses_take_what_rows_and_blocks_are_to_spare() {
    let tight = EngineConfig { max_num_batched_tokens: 3, max_num_seqs: 2, ..config() };
    let mut rig =
        Rig::new(model(true), 4, 16, EngineConfig { speculation: Speculation::Always(8), ..tight });
    let mut num_computed = 0;
    for prompt in [[3, 4], [4, 5]] {
        rig.submit(GenerationRequest { max_tokens: 30, ..request(&prompt) }).unwrap();
    }
    while rig.core.has_work() {
        rig.step();
        let stats = rig.stats();
        assert!(stats.computed_tokens_total - num_computed <= 3);
        num_computed = stats.computed_tokens_total;
    }
    assert!(rig.stats().accepted_draft_tokens_total > 0);

    // Of 6 blocks each sequence fills 3: neither has to go for the other's guesses.
    let full = EngineConfig { max_model_len: 16, speculation: Speculation::Always(8), ..config() };
    let mut rig = Rig::new(model(true), 4, 6, full);
    for prompt in [[3, 4], [4, 5]] {
        rig.submit(GenerationRequest { max_tokens: 10, ..request(&prompt) }).unwrap();
    }
    rig.run();
    assert_eq!(rig.stats().preemptions_total, 0);
}

/// Rows behind a wrong guess may hold anything.
#[test]
fn a_row_that_is_not_a_number_fails_the_request_only_if_it_counts() {
    let repeat = [5, 6, 7, 5, 6, 7, 5, 6];
    for fails in [false, true] {
        // Behind the prompt the guess is 7 and the model writes 9; or 7 and then no number.
        let model = ToyLm::scripted(VOCAB_SIZE, move |step| match step.tokens.len() {
            len if len == repeat.len() => ToyReply::Token(if fails { 7 } else { 9 }),
            _ if step.tokens.get(8) == Some(&7) => ToyReply::NotANumber,
            _ => ToyReply::Token(1),
        });
        let asked = GenerationRequest { max_tokens: 8, ..request(&repeat) };
        let (clients, _) = run(model, speculating(Speculation::Always(4)), &[asked]);
        let failed = TokenEvent::Failed(GenerationError::NotANumber);
        assert_eq!(clients[0].end == Some(failed), fails, "{:?}", clients[0]);
        assert_eq!(clients[0].tokens.first(), Some(if fails { &7 } else { &9 }));
    }
}
