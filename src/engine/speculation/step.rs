//! A scheduled step, to which guesses are added.

use super::policy::{SpeculationPolicy, StepPlan};
use crate::engine::batch::{LogitsUse, ScheduledBatch};
use crate::engine::block_pool::BlockPool;
use crate::engine::sequence::Sequence;

/// What drafters see of a step, and may take.
#[derive(Debug)]
pub(in crate::engine) struct GuessStep<'a> {
    pub(super) running: &'a mut [Sequence],
    pool: &'a mut BlockPool,
    pub(super) block_size: usize,
    pub(super) policy: &'a mut SpeculationPolicy,
    /// The sequences that draw a token in this step.
    pub(super) wanted: Vec<Wanted>,
    num_rows: usize,
    num_sampled: usize,
    /// That the guesses took.
    spent_seconds: f64,
}

/// A sequence that could do with guesses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Where it stands among the running ones.
    pub(super) index: usize,
    /// More guesses than this are of no use to it.
    pub(super) num_max: usize,
}

impl<'a> GuessStep<'a> {
    pub(in crate::engine) fn new(
        running: &'a mut [Sequence],
        pool: &'a mut BlockPool,
        block_size: usize,
        policy: &'a mut SpeculationPolicy,
        batch: &ScheduledBatch,
        budget: usize,
    ) -> Self {
        let num_max = policy.num_guesses_max().min(budget);
        let sampled = batch.seqs.iter().filter(|it| it.logits == LogitsUse::Sample);
        let num_sampled = sampled.clone().count();
        let wanted = sampled
            .map(|it| Wanted {
                index: it.index,
                num_max: num_max.min(running[it.index].num_guesses_max()),
            })
            .filter(|wanted| wanted.num_max > 0)
            .collect();
        let num_rows = batch.num_rows();
        let spent_seconds = 0.0;
        Self { running, pool, block_size, policy, wanted, num_rows, num_sampled, spent_seconds }
    }

    /// The step without guesses, but with the time that they took.
    pub(super) fn plan(&self) -> StepPlan {
        let mut plan = self.policy.plan(self.num_rows, self.num_sampled);
        plan.add(0.0, self.spent_seconds);
        plan
    }

    pub(super) fn spend(&mut self, seconds: f64) {
        self.spent_seconds += seconds;
    }

    /// Sees to it that the sequence has slots for so many tokens. The blocks are taken from what is
    /// to spare only: nobody is preempted for guesses, and each running sequence can still have a
    /// block.
    pub(super) fn reserve(&mut self, index: usize, num_slots: usize) -> bool {
        let num_blocks = num_slots.div_ceil(self.block_size);
        while self.running[index].block_table.len() < num_blocks {
            if self.pool.num_available() <= self.running.len() {
                return false;
            }
            let block = self.pool.allocate().expect("there are blocks to spare");
            self.running[index].append_blocks(&[block]);
        }
        true
    }

    /// Adds the guesses that are worth a row to the step, the likeliest first.
    pub(in crate::engine) fn schedule(mut self, batch: &mut ScheduledBatch, budget: usize) {
        let mut plan = self.plan();
        for _ in 0..budget {
            let candidates = self.wanted.iter().map(|wanted| {
                let num = batch.seqs[wanted.index].num_drafts + 1;
                (self.running[wanted.index].guesses.chance(num), wanted.index)
            });
            let best = candidates.max_by(|(a, _), (b, _)| a.total_cmp(b));
            let Some((gain, index)) = best.filter(|&(gain, _)| gain > 0.0) else { break };
            if !plan.pays(gain, plan.row_seconds) {
                break;
            }
            let scheduled = &mut batch.seqs[index];
            let num_slots = self.running[index].num_computed_tokens + scheduled.num_rows() + 1;
            if self.reserve(index, num_slots) {
                plan.add(gain, plan.row_seconds);
                scheduled.num_drafts += 1;
            } else {
                self.running[index].guesses.shorten(scheduled.num_drafts);
            }
        }
    }
}
