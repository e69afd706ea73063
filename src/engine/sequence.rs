//! One request inside the engine: its tokens, how many of them are computed, and where.

use std::sync::{Arc, OnceLock};

use crate::engine::prefix_cache::BlockHash;
use crate::engine::{
    FinishReason, GenerationRequest, GenerationSummary, ReasoningBudget, SamplingParams,
};
use crate::model::BlockId;

/// Order of arrival. The smaller id is the older request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SequenceId(pub(super) u64);

/// There are no phases: a sequence has work exactly when `num_computed_tokens < num_tokens()`.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: SequenceId,
    /// Prompt, then output.
    tokens: Vec<u32>,
    num_prompt_tokens: usize,
    /// Tokens whose keys and values are in the blocks of `block_table`.
    pub(super) num_computed_tokens: usize,
    /// Shared with the steps that read it, and made anew when it grows.
    pub(super) block_table: Arc<[BlockId]>,
    /// Of the full blocks, as far as they were asked for; depends on nothing but the tokens.
    block_hashes: Vec<BlockHash>,
    /// Blocks of `block_table` that were offered to the prefix cache or came from it.
    pub(super) num_published_blocks: usize,
    /// Prompt tokens found in the prefix cache on first admission; empty until then. Shared with
    /// the client, which may leave before the summary.
    pub(super) num_cached_tokens: Arc<OnceLock<usize>>,
    pub(super) num_preemptions: usize,
    num_new_tokens_max: usize,
    /// Said when `num_new_tokens_max` are generated: whose limit it is.
    full_reason: FinishReason,
    stop_ids: Arc<[u32]>,
    pub(super) sampling: SamplingParams,
    reasoning: Option<Reasoning>,
}

impl Sequence {
    /// `max_model_len` must exceed the length of the prompt.
    pub(super) fn new(id: SequenceId, request: GenerationRequest, max_model_len: usize) -> Self {
        let room = max_model_len - request.prompt.len();
        let full_reason = if request.max_tokens <= room {
            FinishReason::MaxTokens
        } else {
            FinishReason::ContextFull
        };
        Self {
            id,
            num_prompt_tokens: request.prompt.len(),
            tokens: request.prompt,
            num_computed_tokens: 0,
            block_table: Arc::from([]),
            block_hashes: Vec::new(),
            num_published_blocks: 0,
            num_cached_tokens: Arc::default(),
            num_preemptions: 0,
            num_new_tokens_max: request.max_tokens.min(room),
            full_reason,
            stop_ids: request.stop_ids,
            sampling: request.sampling,
            reasoning: request.reasoning_budget.map(Reasoning::new),
        }
    }

    pub(super) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub(super) fn num_tokens(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn num_prompt_tokens(&self) -> usize {
        self.num_prompt_tokens
    }

    pub(super) fn num_pending_tokens(&self) -> usize {
        self.tokens.len() - self.num_computed_tokens
    }

    pub(super) fn num_generated_tokens(&self) -> usize {
        self.tokens.len() - self.num_prompt_tokens
    }

    /// Tokens that will ever be computed at most. The last token of an output never is.
    pub(super) fn num_computed_tokens_max(&self) -> usize {
        self.num_prompt_tokens + self.num_new_tokens_max.saturating_sub(1)
    }

    /// Identity of the full block `index`, which must lie within the tokens.
    pub(super) fn block_hash(&mut self, index: usize, block_size: usize) -> BlockHash {
        while self.block_hashes.len() <= index {
            let start = self.block_hashes.len() * block_size;
            let parent = self.block_hashes.last().copied().unwrap_or(BlockHash::ROOT);
            self.block_hashes.push(parent.chain(&self.tokens[start..start + block_size]));
        }
        self.block_hashes[index]
    }

    pub(super) fn append_blocks(&mut self, blocks: &[BlockId]) {
        self.block_table = self.block_table.iter().chain(blocks).copied().collect();
    }

    /// Gives up the blocks and everything computed; the tokens stay and are computed again.
    pub(super) fn take_blocks(&mut self) -> Arc<[BlockId]> {
        self.num_computed_tokens = 0;
        self.num_published_blocks = 0;
        std::mem::replace(&mut self.block_table, Arc::from([]))
    }

    /// Takes the token drawn behind the last computed one, or what must stand in its place, and
    /// says whether the generation has ended.
    pub(super) fn accept(&mut self, sampled: u32) -> Option<FinishReason> {
        debug_assert_eq!(self.num_pending_tokens(), 0, "a token is drawn when all are computed");
        if self.is_full() {
            return Some(self.full_reason);
        }
        if let Some(closing_ids) = self.reasoning.as_mut().and_then(|it| it.close_before(sampled)) {
            for &id in closing_ids.iter() {
                self.push(id);
                if self.is_full() {
                    return Some(self.full_reason);
                }
            }
            return None;
        }
        if self.stop_ids.contains(&sampled) {
            return Some(FinishReason::Stop);
        }
        self.push(sampled);
        self.is_full().then_some(self.full_reason)
    }

    pub(super) fn summary(&self, reason: FinishReason) -> GenerationSummary {
        GenerationSummary {
            reason,
            num_prompt_tokens: self.num_prompt_tokens,
            num_cached_tokens: self.num_cached_tokens.get().copied().unwrap_or(0),
            num_generated_tokens: self.num_generated_tokens(),
            num_reasoning_tokens: self.reasoning.as_ref().map_or(0, |it| it.num_tokens),
            num_preemptions: self.num_preemptions,
        }
    }

    fn is_full(&self) -> bool {
        self.num_generated_tokens() >= self.num_new_tokens_max
    }

    fn push(&mut self, token: u32) {
        self.tokens.push(token);
        if let Some(reasoning) = &mut self.reasoning {
            reasoning.observe(token);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReasoningState {
    Before,
    Open,
    /// The budget no longer applies, even if the model opens a second reasoning part.
    Closed,
}

#[derive(Debug)]
struct Reasoning {
    budget: ReasoningBudget,
    state: ReasoningState,
    num_tokens: usize,
}

impl Reasoning {
    fn new(budget: ReasoningBudget) -> Self {
        let state = if budget.starts_open { ReasoningState::Open } else { ReasoningState::Before };
        Self { budget, state, num_tokens: 0 }
    }

    /// What to write in place of `sampled`, if the budget is spent and the model does not close
    /// the part itself. At most once: whatever is written, the part counts as closed afterwards.
    fn close_before(&mut self, sampled: u32) -> Option<Arc<[u32]>> {
        let spent = self.state == ReasoningState::Open && self.num_tokens >= self.budget.max_tokens;
        if !spent || sampled == self.budget.close_id || self.budget.closing_ids.is_empty() {
            return None;
        }
        self.state = ReasoningState::Closed;
        Some(Arc::clone(&self.budget.closing_ids))
    }

    fn observe(&mut self, token: u32) {
        match self.state {
            ReasoningState::Before if token == self.budget.open_id => {
                self.state = ReasoningState::Open;
            }
            ReasoningState::Open if token == self.budget.close_id => {
                self.state = ReasoningState::Closed;
            }
            ReasoningState::Open => self.num_tokens += 1,
            ReasoningState::Before | ReasoningState::Closed => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::{greedy, request};

    const OPEN: u32 = 90;
    const CLOSE: u32 = 91;
    const EOS: u32 = 92;

    fn budget(max_tokens: usize, starts_open: bool) -> ReasoningBudget {
        ReasoningBudget {
            max_tokens,
            starts_open,
            open_id: OPEN,
            close_id: CLOSE,
            closing_ids: Arc::from([80, CLOSE]),
        }
    }

    /// Feeds the sampled tokens until the end and returns output, reason and reasoning tokens.
    fn run(
        max_tokens: usize,
        reasoning_budget: Option<ReasoningBudget>,
        sampled: &[u32],
    ) -> (Vec<u32>, Option<FinishReason>, usize) {
        let request = GenerationRequest {
            max_tokens,
            stop_ids: Arc::from([EOS]),
            reasoning_budget,
            sampling: greedy(),
            ..request(&[1, 2, 3])
        };
        let mut sequence = Sequence::new(SequenceId(0), request, 100);
        for &token in sampled {
            sequence.num_computed_tokens = sequence.num_tokens();
            if let Some(reason) = sequence.accept(token) {
                let summary = sequence.summary(reason);
                return (sequence.tokens[3..].to_vec(), Some(reason), summary.num_reasoning_tokens);
            }
        }
        let summary = sequence.summary(FinishReason::Stop);
        (sequence.tokens[3..].to_vec(), None, summary.num_reasoning_tokens)
    }

    #[test]
    fn a_stop_token_ends_the_output_and_is_not_part_of_it() {
        assert_eq!(run(9, None, &[5, 6, EOS]), (vec![5, 6], Some(FinishReason::Stop), 0));
    }

    #[test]
    fn the_last_token_allowed_is_part_of_the_output() {
        assert_eq!(run(2, None, &[5, 6]), (vec![5, 6], Some(FinishReason::MaxTokens), 0));
        assert_eq!(run(0, None, &[5]), (vec![], Some(FinishReason::MaxTokens), 0));
    }

    #[test]
    fn the_context_ends_what_max_tokens_would_allow() {
        let room = 97;
        let sampled = vec![5; room];
        assert_eq!(run(room, None, &sampled).1, Some(FinishReason::MaxTokens));
        let (tokens, reason, _) = run(room + 1, None, &sampled);
        assert_eq!((tokens.len(), reason), (room, Some(FinishReason::ContextFull)));
    }

    #[test]
    fn a_spent_budget_closes_the_reasoning_part_once() {
        let (tokens, reason, num_reasoning) =
            run(20, Some(budget(2, true)), &[5, 6, 7, OPEN, 8, 9, 10, EOS]);
        assert_eq!(tokens, [5, 6, 80, CLOSE, OPEN, 8, 9, 10]);
        assert_eq!((reason, num_reasoning), (Some(FinishReason::Stop), 2));
    }

    #[test]
    fn a_budget_counts_from_the_opening_token() {
        let (tokens, _, num_reasoning) = run(20, Some(budget(1, false)), &[5, 6, OPEN, 7, 8, 9]);
        assert_eq!(tokens, [5, 6, OPEN, 7, 80, CLOSE, 9]);
        assert_eq!(num_reasoning, 1);
    }

    #[test]
    fn a_part_that_the_model_closes_is_left_alone() {
        let sampled = [5, 6, CLOSE, 7, 8, 9];
        let (tokens, _, num_reasoning) = run(20, Some(budget(2, true)), &sampled);
        assert_eq!((tokens.as_slice(), num_reasoning), (sampled.as_slice(), 2));
    }

    #[test]
    fn a_budget_of_nothing_closes_before_the_first_token() {
        let (tokens, ..) = run(20, Some(budget(0, true)), &[5, 6]);
        assert_eq!(tokens, [80, CLOSE, 6]);
    }

    #[test]
    fn the_end_of_the_sequence_does_not_escape_an_open_reasoning_part_at_its_budget() {
        let (tokens, reason, _) = run(20, Some(budget(1, true)), &[5, EOS, 6, EOS]);
        assert_eq!((tokens, reason), (vec![5, 80, CLOSE, 6], Some(FinishReason::Stop)));
    }

    #[test]
    fn closing_tokens_count_as_generated_tokens() {
        let (tokens, reason, _) = run(3, Some(budget(2, true)), &[5, 6, 7]);
        assert_eq!((tokens, reason), (vec![5, 6, 80], Some(FinishReason::MaxTokens)));
    }
}
