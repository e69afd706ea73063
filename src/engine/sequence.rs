//! One request inside the engine: its tokens, how many of them are computed, and where.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::engine::prefix_cache::BlockHash;
use crate::engine::speculation::{Guesses, SpeculationPolicy};
use crate::engine::{
    ConstraintError, FinishReason, GenerationRequest, GenerationSummary, Priority, ReasoningBudget,
    SamplingParams, TokenConstraint,
};
use crate::limits;
use crate::model::BlockId;

/// Order of arrival. The smaller id is the older request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SequenceId(pub(super) u64);

/// Who goes first: the smaller rank. A total order that is fixed when a request arrives, so whoever
/// waits is first in the end, whatever arrives behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u64, SequenceId);

impl Rank {
    fn new(priority: Priority, id: SequenceId) -> Self {
        let head_starts = match priority {
            Priority::High => 0,
            Priority::Normal => 1,
            Priority::Low => 2,
        };
        // The first place is kept for those that were preempted too often.
        let place = id.0 + 1 + head_starts * limits::PRIORITY_HEAD_START;
        Self(place, id)
    }
}

/// What a request read from the prefix cache and put into it. Shared with the client, which may
/// leave before the summary.
#[derive(Debug, Default)]
pub(super) struct CacheUse {
    /// Prompt tokens found on first admission; empty until then.
    pub(super) num_read: OnceLock<usize>,
    pub(super) num_written: AtomicUsize,
}

impl CacheUse {
    pub(super) fn num_read(&self) -> usize {
        self.num_read.get().copied().unwrap_or(0)
    }

    pub(super) fn num_written(&self) -> usize {
        self.num_written.load(Ordering::Relaxed)
    }
}

/// There are no phases: a sequence has work exactly when `num_computed_tokens < num_tokens()`.
#[derive(Debug)]
pub(super) struct Sequence {
    pub(super) id: SequenceId,
    pub(super) rank: Rank,
    /// Prompt, then output.
    tokens: Vec<u32>,
    num_prompt_tokens: usize,
    /// Tokens whose keys and values are in the blocks of `block_table`.
    pub(super) num_computed_tokens: usize,
    /// Shared with the steps that read it, and made anew when it grows.
    pub(super) block_table: Arc<[BlockId]>,
    /// Of the full blocks, as far as they were asked for; depends on nothing but the salt and the
    /// tokens.
    block_hashes: Vec<BlockHash>,
    root: BlockHash,
    /// Blocks of `block_table` that were offered to the prefix cache or came from it.
    pub(super) num_published_blocks: usize,
    pub(super) cache_use: Arc<CacheUse>,
    pub(super) num_preemptions: usize,
    pub(super) guesses: Guesses,
    pub(super) num_guessed_tokens: usize,
    num_new_tokens_max: usize,
    /// Said when `num_new_tokens_max` are generated: whose limit it is.
    full_reason: FinishReason,
    stop_ids: Arc<[u32]>,
    pub(super) sampling: SamplingParams,
    pub(super) logprobs: Option<usize>,
    reasoning: Option<Reasoning>,
    constraint: Option<Box<dyn TokenConstraint>>,
    /// Tokens kept for a constrained answer, which an open reasoning part may not use up.
    num_reserved_tokens: usize,
}

impl Sequence {
    /// `max_model_len` must exceed the length of the prompt.
    pub(super) fn new(
        id: SequenceId,
        request: GenerationRequest,
        constraint: Option<Box<dyn TokenConstraint>>,
        max_model_len: usize,
    ) -> Self {
        let room = max_model_len - request.prompt.len();
        let full_reason = if request.max_tokens <= room {
            FinishReason::MaxTokens
        } else {
            FinishReason::ContextFull
        };
        let num_new_tokens_max = request.max_tokens.min(room);
        let num_reserved_tokens = constraint
            .as_ref()
            .map_or(0, |it| num_reserved_tokens(it.num_tokens_min(), num_new_tokens_max));
        Self {
            id,
            rank: Rank::new(request.priority, id),
            root: BlockHash::root(request.cache_salt.as_deref()),
            num_prompt_tokens: request.prompt.len(),
            tokens: request.prompt,
            num_computed_tokens: 0,
            block_table: Arc::from([]),
            block_hashes: Vec::new(),
            num_published_blocks: 0,
            cache_use: Arc::default(),
            num_preemptions: 0,
            guesses: Guesses::default(),
            num_guessed_tokens: 0,
            num_new_tokens_max,
            full_reason,
            stop_ids: request.stop_ids,
            sampling: request.sampling,
            logprobs: request.logprobs,
            reasoning: request.reasoning_budget.map(Reasoning::new),
            constraint,
            num_reserved_tokens,
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

    /// Guesses that can be of use: none beyond what may be generated.
    pub(super) fn num_guesses_max(&self) -> usize {
        self.num_computed_tokens_max().saturating_sub(self.tokens.len())
    }

    /// Guesses at most `num_max` tokens from those that are there.
    pub(super) fn look_up_guesses(&mut self, num_max: usize) {
        self.guesses.look_up(&self.tokens, num_max);
    }

    /// Learns from the tokens that were written since there were `num_before`.
    pub(super) fn settle_guesses(&mut self, num_before: usize, policy: &mut SpeculationPolicy) {
        self.guesses.settle(num_before, &self.tokens[num_before..], policy.draft_rates());
    }

    /// Whether the generation ends where the model writes this token.
    pub(super) fn ends_with(&self, token: u32) -> bool {
        self.stop_ids.contains(&token)
    }

    /// Identity of the full block `index`, which must lie within the tokens.
    pub(super) fn block_hash(&mut self, index: usize, block_size: usize) -> BlockHash {
        while self.block_hashes.len() <= index {
            let start = self.block_hashes.len() * block_size;
            let parent = self.block_hashes.last().copied().unwrap_or(self.root);
            self.block_hashes.push(parent.chain(&self.tokens[start..start + block_size]));
        }
        self.block_hashes[index]
    }

    pub(super) fn append_blocks(&mut self, blocks: &[BlockId]) {
        self.block_table = self.block_table.iter().chain(blocks).copied().collect();
    }

    /// From now on ahead of all that were not preempted as often.
    pub(super) fn promote(&mut self) {
        self.rank = Rank(0, self.id);
    }

    /// Gives up the blocks and everything computed; the tokens stay and are computed again.
    pub(super) fn take_blocks(&mut self) -> Arc<[BlockId]> {
        self.num_computed_tokens = 0;
        self.num_published_blocks = 0;
        self.guesses.leave_blocks();
        std::mem::replace(&mut self.block_table, Arc::from([]))
    }

    /// Writes the tokens that may be drawn next into `allowed`; false if any may.
    pub(super) fn write_allowed(
        &mut self,
        allowed: &mut Vec<u32>,
    ) -> Result<bool, ConstraintError> {
        if !self.is_constrained() || self.is_full() {
            return Ok(false);
        }
        let opening = self.reasoning.as_ref().and_then(Reasoning::opening_id);
        let constraint = self.constraint.as_mut().expect("it is constrained");
        let Some(words) = constraint.allowed()? else { return Ok(false) };
        allowed.clear();
        allowed.extend_from_slice(words);
        if let Some(id) = opening
            && let Some(word) = allowed.get_mut((id / u32::BITS) as usize)
        {
            *word |= 1 << (id % u32::BITS);
        }
        Ok(true)
    }

    /// What is written for the token that was drawn, `None` if the generation ends here. To be
    /// called once for each, before `accept`.
    pub(super) fn settle(&mut self, drawn: u32) -> Result<Option<u32>, ConstraintError> {
        let opens = self.reasoning.as_ref().and_then(Reasoning::opening_id) == Some(drawn);
        if !self.is_constrained() || self.is_full() || opens || self.stop_ids.contains(&drawn) {
            return Ok(Some(drawn));
        }
        let room = self.num_new_tokens_max - self.num_generated_tokens() - 1;
        if let Some(reasoning) = &mut self.reasoning {
            reasoning.answer_begins();
        }
        let constraint = self.constraint.as_mut().expect("it is constrained");
        constraint.accept(drawn, room)
    }

    /// Takes the settled token, drawn behind the last computed one, or what must stand in its
    /// place, and says whether the generation has ended.
    pub(super) fn accept(&mut self, token: u32) -> Option<FinishReason> {
        debug_assert_eq!(self.num_pending_tokens(), 0, "a token is drawn when all are computed");
        if self.is_full() {
            return Some(self.full_reason);
        }
        let must_close = self.must_close_before(token);
        let reasoning = self.reasoning.as_mut();
        if let Some(closing_ids) = reasoning.and_then(|it| it.close_before(token, must_close)) {
            return self.push_all(&closing_ids);
        }
        if self.stop_ids.contains(&token) {
            return Some(FinishReason::Stop);
        }
        let was_constrained = self.is_constrained();
        self.push(token);
        let Some(constraint) = self.constraint.as_mut().filter(|_| was_constrained) else {
            if let Some(leading_ids) = self.leading_ids_after(token) {
                return self.push_all(&leading_ids);
            }
            return self.is_full().then_some(self.full_reason);
        };
        let answering = self.reasoning.as_ref().is_none_or(|it| it.state != ReasoningState::Open);
        if answering && constraint.must_end() {
            return Some(FinishReason::Stop);
        }
        let num_generated = self.tokens.len() - self.num_prompt_tokens;
        (num_generated >= self.num_new_tokens_max).then(|| {
            match answering && constraint.may_end() {
                true => FinishReason::Stop,
                false => self.full_reason,
            }
        })
    }

    /// Whether nothing but [`SamplingParams`] and the row decide what is drawn, and nobody asks how
    /// likely it was.
    pub(super) fn draws_by_row_alone(&self) -> bool {
        let has_penalty = self.sampling.repetition_penalty != 1.0;
        self.constraint.is_none() && self.logprobs.is_none() && !has_penalty
    }

    /// A constraint holds from the end of the reasoning part, or from the start without one.
    fn is_constrained(&self) -> bool {
        let is_open = self.reasoning.as_ref().is_some_and(|it| it.state == ReasoningState::Open);
        self.constraint.is_some() && !is_open
    }

    /// A constrained answer must be given: neither may the model end while it reasons, nor may the
    /// reasoning leave no room for it.
    fn must_close_before(&self, token: u32) -> bool {
        let Some(reasoning) = self.reasoning.as_ref().filter(|_| self.constraint.is_some()) else {
            return false;
        };
        let reserved = self.num_reserved_tokens + reasoning.budget.closing_ids.len();
        let room = self.num_new_tokens_max - self.num_generated_tokens();
        self.stop_ids.contains(&token) || room <= reserved
    }

    fn leading_ids_after(&self, token: u32) -> Option<Arc<[u32]>> {
        let reasoning = self.reasoning.as_ref()?;
        let closed = reasoning.state == ReasoningState::Closed;
        let ends_reasoning = closed && token == reasoning.budget.close_id;
        (ends_reasoning && self.constraint.is_some())
            .then(|| Arc::clone(&reasoning.budget.leading_ids))
    }

    /// Tokens that nobody drew.
    fn push_all(&mut self, ids: &[u32]) -> Option<FinishReason> {
        if self.is_full() {
            return Some(self.full_reason);
        }
        for &id in ids {
            self.push(id);
            if self.is_full() {
                return Some(self.full_reason);
            }
        }
        None
    }

    pub(super) fn summary(&self, reason: FinishReason) -> GenerationSummary {
        GenerationSummary {
            reason,
            num_prompt_tokens: self.num_prompt_tokens,
            num_cached_tokens: self.cache_use.num_read(),
            num_written_tokens: self.cache_use.num_written(),
            num_generated_tokens: self.num_generated_tokens(),
            num_reasoning_tokens: self.reasoning.as_ref().map_or(0, |it| it.num_tokens),
            num_guessed_tokens: self.num_guessed_tokens,
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

/// The shortest answer is a poor one, so there is to be room for more than it takes; but the
/// reasoning keeps half of what may be generated.
fn num_reserved_tokens(num_tokens_min: usize, num_new_tokens_max: usize) -> usize {
    let wanted = num_tokens_min.saturating_mul(limits::ANSWER_RESERVE_FACTOR);
    wanted.min(num_new_tokens_max / 2).max(num_tokens_min)
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
    answering: bool,
}

impl Reasoning {
    fn new(budget: ReasoningBudget) -> Self {
        let state = if budget.starts_open { ReasoningState::Open } else { ReasoningState::Before };
        Self { budget, state, num_tokens: 0, answering: false }
    }

    /// The token that would open the part, as long as nothing else was written.
    fn opening_id(&self) -> Option<u32> {
        (self.state == ReasoningState::Before && !self.answering).then_some(self.budget.open_id)
    }

    /// A constrained answer has begun without a reasoning part; there will be none.
    fn answer_begins(&mut self) {
        self.answering = true;
    }

    /// What to write in place of `sampled`, if the budget is spent or the part must be closed for
    /// another reason, and the model does not close it itself. At most once: whatever is written,
    /// the part counts as closed afterwards.
    fn close_before(&mut self, sampled: u32, must_close: bool) -> Option<Arc<[u32]>> {
        let spent = must_close || self.num_tokens >= self.budget.max_tokens;
        let closes = self.state == ReasoningState::Open && spent;
        if !closes || sampled == self.budget.close_id || self.budget.closing_ids.is_empty() {
            return None;
        }
        self.state = ReasoningState::Closed;
        Some(Arc::clone(&self.budget.closing_ids))
    }

    fn observe(&mut self, token: u32) {
        match self.state {
            ReasoningState::Before if token == self.budget.open_id && !self.answering => {
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
            leading_ids: Arc::from([]),
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
        let mut sequence = Sequence::new(SequenceId(0), request, None, 100);
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
