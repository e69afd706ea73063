//! Constraints: what is written is always valid, and it is nobody else's business.

use std::sync::Arc;

use super::{Client, Rig, VOCAB_SIZE, alone_constrained, assert_idle, config, request};
use crate::engine::{
    ConstraintError, EngineConfig, FinishReason, GenerationError, GenerationRequest,
    ReasoningBudget, TokenConstraint, TokenEvent,
};
use crate::model::toy::{ToyLm, ToyReply};

pub(super) const OPEN: u32 = 1;
pub(super) const CLOSE: u32 = 2;
const END: u32 = 22;
const THINK: u32 = 20;
const THOUGHT: u32 = 21;

/// One or two groups of balanced brackets, with other tokens in between.
#[derive(Debug, Clone, Default)]
pub(super) struct Brackets {
    depth: usize,
    num_groups: usize,
    allowed: [u32; 1],
}

impl TokenConstraint for Brackets {
    fn allowed(&mut self) -> Result<Option<&[u32]>, ConstraintError> {
        let inside = 1 << CLOSE | 1 << 5 | 1 << 6 | 1 << THINK;
        let end = if self.may_end() { 1 << END } else { 0 };
        self.allowed = [1 << OPEN | if self.depth > 0 { inside } else { end }];
        Ok(Some(&self.allowed))
    }

    fn accept(&mut self, token: u32, room: usize) -> Result<Option<u32>, ConstraintError> {
        let opens = usize::from(token == OPEN);
        let closes = usize::from(token == CLOSE);
        let token = match self.depth + opens - closes > room {
            true if self.depth > 0 => CLOSE,
            true if self.may_end() => return Ok(None),
            _ => token,
        };
        match token {
            OPEN => self.depth += 1,
            CLOSE if self.depth == 0 => return Err(ConstraintError("unbalanced".to_owned())),
            CLOSE => {
                self.depth -= 1;
                self.num_groups += usize::from(self.depth == 0);
            }
            _ => {}
        }
        Ok(Some(token))
    }

    fn may_end(&mut self) -> bool {
        self.depth == 0 && self.num_groups > 0
    }

    fn must_end(&mut self) -> bool {
        self.depth == 0 && self.num_groups == 2
    }

    fn num_tokens_min(&self) -> usize {
        2
    }
}

/// Whether the tokens are what [`Brackets`] allows, read independently of it.
fn is_balanced(tokens: &[u32]) -> bool {
    let mut depth = 0;
    for &token in tokens {
        depth += i32::from(token == OPEN) - i32::from(token == CLOSE);
        if depth < 0 || (depth == 0 && token != CLOSE) {
            return false;
        }
    }
    depth == 0 && tokens.len() >= 2
}

fn run(request: GenerationRequest) -> (Client, FinishReason) {
    let client = alone_constrained(request, Some(Box::new(Brackets::default())), 64);
    let Some(TokenEvent::Finished(summary)) = &client.end else { panic!("{:?}", client.end) };
    let reason = summary.reason;
    (client, reason)
}

#[test]
fn an_answer_is_valid_whatever_room_it_has() {
    for max_tokens in 2..40 {
        for first in 0..6 {
            let asked = GenerationRequest {
                max_tokens,
                stop_ids: Arc::from([END]),
                ..request(&[first, 3])
            };
            let (client, reason) = run(asked);
            assert!(is_balanced(&client.tokens), "{max_tokens}: {:?}", client.tokens);
            assert_eq!(reason, FinishReason::Stop);
        }
    }
    let (client, reason) = run(GenerationRequest { max_tokens: 1, ..request(&[3]) });
    assert_eq!((client.tokens.len(), reason), (1, FinishReason::MaxTokens));
}

fn budget(starts_open: bool) -> ReasoningBudget {
    ReasoningBudget {
        max_tokens: usize::MAX,
        starts_open,
        open_id: THINK,
        close_id: THOUGHT,
        closing_ids: Arc::from([3, THOUGHT, 4]),
        leading_ids: Arc::from([4]),
    }
}

#[test]
fn reasoning_is_free_and_leaves_room_for_the_answer() {
    // The model would reason for ever, or end while it does.
    for written in [7, END] {
        let model = ToyLm::scripted(VOCAB_SIZE, move |step| match step.tokens.contains(&THOUGHT) {
            false => ToyReply::Token(written),
            true => ToyReply::Hash,
        });
        let mut rig = Rig::new(model, 16, 4, EngineConfig { max_model_len: 64, ..config() });
        let asked = GenerationRequest {
            max_tokens: 20,
            stop_ids: Arc::from([END]),
            reasoning_budget: Some(budget(true)),
            ..request(&[3])
        };
        rig.submit_constrained(asked, Some(Box::new(Brackets::default()))).unwrap();
        rig.run();
        let tokens = &rig.clients[0].tokens;
        let closed = tokens.iter().position(|&id| id == THOUGHT).expect("it is closed");
        assert_eq!(tokens[closed + 1], 4);
        assert!(is_balanced(&tokens[closed + 2..]), "{tokens:?}");
    }
}

#[test]
fn the_model_may_open_its_reasoning_first_but_not_within_the_answer() {
    let script = [THINK, 9, THOUGHT, OPEN, THINK, CLOSE, END];
    let model = ToyLm::scripted(VOCAB_SIZE, move |step| {
        // One token of prompt, and one that follows the closing one by itself.
        let said = step.tokens.len() - 1;
        ToyReply::Token(script[if said > 3 { said - 1 } else { said }])
    });
    let mut rig = Rig::new(model, 16, 4, config());
    let asked = GenerationRequest {
        stop_ids: Arc::from([END]),
        reasoning_budget: Some(budget(false)),
        ..request(&[3])
    };
    rig.submit_constrained(asked, Some(Box::new(Brackets::default()))).unwrap();
    rig.run();
    assert_eq!(rig.clients[0].tokens, [THINK, 9, THOUGHT, 4, OPEN, THINK, CLOSE]);
}

/// Allows nothing that it accepts.
#[derive(Debug)]
struct Failing;

impl TokenConstraint for Failing {
    fn allowed(&mut self) -> Result<Option<&[u32]>, ConstraintError> {
        Ok(None)
    }

    fn accept(&mut self, _: u32, _: usize) -> Result<Option<u32>, ConstraintError> {
        Err(ConstraintError("too complex".to_owned()))
    }

    fn may_end(&mut self) -> bool {
        false
    }

    fn must_end(&mut self) -> bool {
        false
    }

    fn num_tokens_min(&self) -> usize {
        0
    }
}

#[test]
fn a_constraint_that_fails_fails_its_own_request_only() {
    let mut rig = Rig::new(ToyLm::new(VOCAB_SIZE), 4, 16, config());
    let other = rig.submit(request(&[1])).unwrap();
    let failing = rig.submit_constrained(request(&[1]), Some(Box::new(Failing))).unwrap();
    rig.run();
    let error = GenerationError::Constraint(ConstraintError("too complex".to_owned()));
    assert_eq!(rig.clients[failing].end, Some(TokenEvent::Failed(error)));
    assert_eq!(rig.clients[other].tokens.len(), 16);
    assert_idle(&rig.stats());
}

#[test]
fn drawn_tokens_come_with_their_log_probabilities_if_asked_for() {
    let mut rig = Rig::new(ToyLm::new(VOCAB_SIZE), 4, 16, config());
    let asked = GenerationRequest { max_tokens: 3, logprobs: Some(2), ..request(&[1]) };
    rig.submit(asked).unwrap();
    rig.run();
    let client = &rig.clients[0];
    assert_eq!(client.logprobs.len(), 3);
    for (logprobs, token) in client.logprobs.iter().zip(&client.tokens) {
        assert_eq!((logprobs.token, logprobs.top.len()), (*token, 2));
        assert_eq!(logprobs.top[0], (*token, logprobs.logprob), "the most likely one was drawn");
        assert!(logprobs.logprob < 0.0 && logprobs.top[1].1 <= logprobs.logprob);
    }
}
