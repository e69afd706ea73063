//! Through the handle and the thread: how requests end.

use std::sync::Arc;

use super::{VOCAB_SIZE, config, request};
use crate::engine::{Engine, EngineHandle, FinishReason, Generation, TokenEvent};
use crate::model::toy::ToyLm;

fn start(model: ToyLm) -> EngineHandle {
    Engine::start(Box::new(model), ToyLm::kv_cache(4, 32).unwrap(), config()).unwrap()
}

fn collect(mut generation: Generation) -> (Vec<u32>, TokenEvent) {
    let mut tokens = Vec::new();
    while let Some(event) = generation.blocking_next() {
        match event {
            TokenEvent::Token(token) => tokens.push(token),
            end => {
                assert_eq!(generation.blocking_next(), None, "nothing follows the end");
                return (tokens, end);
            }
        }
    }
    panic!("no final event");
}

#[test]
fn a_recited_answer_comes_back_and_leaves_nothing_behind() {
    let answer = vec![5, 6, 7];
    let engine = start(ToyLm::reciting(VOCAB_SIZE, vec![(vec![1, 2, 3], answer.clone())], 9));
    let mut asked = request(&[1, 2, 3]);
    asked.stop_ids = Arc::from([9]);
    let (tokens, end) = collect(engine.submit(asked).unwrap());
    assert_eq!(tokens, answer);
    let TokenEvent::Finished(summary) = end else { panic!("{end:?}") };
    assert_eq!(summary.reason, FinishReason::Stop);
    assert_eq!((summary.num_prompt_tokens, summary.num_generated_tokens), (3, 3));
    let stats = engine.stats();
    assert_eq!((stats.num_running, stats.num_waiting, stats.num_used_blocks), (0, 0, 0));
}
