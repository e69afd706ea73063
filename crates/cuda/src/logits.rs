//! A step's logits, which stay on the GPU: what of them a host's sampler reads is found and copied.

use std::sync::Arc;

use crate::args::{BlockMaximaArgs, CopyBlocksArgs, WeighArgs};
use crate::memory::{Buffer, Upload};
use crate::rows::Rows;
use crate::session::Session;
use crate::{CudaError, Float, Result};

/// Neighbours whose largest logit is known without reading them.
pub const LOGITS_BLOCK: usize = 256;
const WARPS: usize = 4;
/// Lanes of a warp that weigh a block.
const WEIGH_LANES: usize = 8;
/// What is asked about at a time comes back in this many floats.
const ANSWER_FLOATS: usize = 1 << 20;

/// What a step leaves, in memory of the pool that has been given back: true until the next taking.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    logits: u64,
    maxima: u64,
    width: usize,
}

/// Buffers for questions and their answers, outside of the pool, in which the logits lie.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    words: Vec<i32>,
    questions: Upload,
    floats: Option<Buffer>,
}

/// Rows of logits on the GPU, for as long as its session computes nothing else.
#[derive(Debug)]
pub struct Logits {
    session: Arc<Session>,
    output: Output,
    num_rows: usize,
    /// `[num_rows, num_blocks]`
    maxima: Vec<f32>,
    /// Of the pool when these were computed.
    num_takes: u64,
}

/// A row whose blocks are weighed: each is the sum of `e^((logit - max) * inverse_temperature)`
/// without what is below `least` or `2^-40`. `max` is the row's largest logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeighRow {
    pub row: usize,
    pub max: f32,
    pub inverse_temperature: f32,
    pub least: f32,
}

/// Logits `[block * 256, (block + 1) * 256)` of a row, as far as it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogitsBlock {
    pub row: usize,
    pub block: usize,
}

impl Output {
    /// Of rows of `f32`, whose blocks' maxima are found if anybody is to look at them.
    pub(crate) fn new(session: &Session, rows: &Rows, is_wanted: bool) -> Result<Self> {
        rows.expect_floats("logits", rows.width())?;
        let width = rows.width();
        let num_blocks = width.div_ceil(LOGITS_BLOCK);
        let maxima = Rows::new(session, rows.num_rows(), num_blocks, Float::F32)?;
        let output = Self { logits: rows.address(), maxima: maxima.address(), width };
        if is_wanted {
            let args = BlockMaximaArgs {
                logits: output.logits,
                maxima: output.maxima,
                width: width as i32,
                num_blocks: num_blocks as i32,
            };
            // A grid has far more places in its first dimension than rows or blocks there are.
            let grid = [rows.num_rows(), num_blocks.div_ceil(WARPS), 1];
            // SAFETY: the grid is one of blocks of these rows, each of which has its maximum.
            unsafe { session.driver.launch("block_maxima", grid, WARPS * 32, 0, &args) }?;
        }
        Ok(output)
    }

    fn num_blocks(&self) -> usize {
        self.width.div_ceil(LOGITS_BLOCK)
    }
}

impl Logits {
    /// Waits for the step.
    pub(crate) fn new(session: &Arc<Session>, output: Output, num_rows: usize) -> Result<Self> {
        let maxima = session.read_floats(output.maxima, num_rows * output.num_blocks())?;
        let num_takes = session.pool.num_takes();
        Ok(Self { session: Arc::clone(session), output, num_rows, maxima, num_takes })
    }

    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// The largest logit of each block of a row; infinite if the block has a NaN or an infinity.
    pub fn maxima(&self, row: usize) -> &[f32] {
        let num_blocks = self.output.num_blocks();
        &self.maxima[row * num_blocks..(row + 1) * num_blocks]
    }

    /// All logits of `rows`.
    pub fn rows(&self, rows: std::ops::Range<usize>) -> Result<Vec<f32>> {
        self.expect_current()?;
        assert!(rows.end <= self.num_rows && rows.start <= rows.end, "there are such rows");
        let width = self.output.width;
        let address = self.output.logits + (rows.start * width * 4) as u64;
        self.session.read_floats(address, rows.len() * width)
    }

    /// What each block weighs, of each of `rows`: `[rows.len(), num_blocks]`.
    pub fn weigh(&self, rows: &[WeighRow]) -> Result<Vec<f32>> {
        let num_blocks = self.output.num_blocks();
        let words = |row: &WeighRow| {
            assert!(row.row < self.num_rows, "there is such a row");
            let floats = [row.max, row.inverse_temperature, row.least];
            let [max, inverse, least] = floats.map(|x| x.to_bits() as i32);
            vec![row.row as i32, max, inverse, least]
        };
        let each = (ANSWER_FLOATS / num_blocks).max(1);
        self.ask(rows, words, (each, num_blocks), |rows, questions, answers| {
            let args = WeighArgs {
                logits: self.output.logits,
                rows: questions,
                weights: answers,
                width: self.output.width as i32,
                num_blocks: num_blocks as i32,
            };
            let blocks_each = WARPS * 32 / WEIGH_LANES;
            let grid = [rows.len(), num_blocks.div_ceil(blocks_each), 1];
            // SAFETY: rows have been compared with those that are there, and each has its answers.
            unsafe { self.session.driver.launch("weigh", grid, WARPS * 32, 0, &args) }
        })
    }

    /// The logits of blocks, 256 each; behind a row's end they are negative infinity.
    pub fn blocks(&self, blocks: &[LogitsBlock]) -> Result<Vec<f32>> {
        let words = |at: &LogitsBlock| {
            assert!(at.row < self.num_rows && at.block < self.output.num_blocks(), "it is there");
            vec![at.row as i32, at.block as i32]
        };
        let each = ANSWER_FLOATS / LOGITS_BLOCK;
        self.ask(blocks, words, (each, LOGITS_BLOCK), |blocks, questions, answers| {
            let args = CopyBlocksArgs {
                logits: self.output.logits,
                blocks: questions,
                out: answers,
                width: self.output.width as i32,
                num_blocks: blocks.len() as i32,
            };
            let grid = [blocks.len().div_ceil(WARPS), 1, 1];
            // SAFETY: blocks have been compared with those that are there, and each has its answer.
            unsafe { self.session.driver.launch("copy_blocks", grid, WARPS * 32, 0, &args) }
        })
    }

    /// The answers to `questions`, `each` of them at a time, `len` floats to each.
    fn ask<Q>(
        &self,
        questions: &[Q],
        words_of: impl Fn(&Q) -> Vec<i32>,
        (each, len): (usize, usize),
        launch: impl Fn(&[Q], u64, u64) -> Result<()>,
    ) -> Result<Vec<f32>> {
        self.expect_current()?;
        let session = &self.session;
        let mut answers = session.answers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Answers { words, questions: upload, floats } = &mut *answers;
        let room = 4 * ANSWER_FLOATS.max(len);
        if floats.as_ref().is_none_or(|buffer| buffer.num_bytes() < room) {
            *floats = Some(Buffer::new(&session.driver, room)?);
        }
        let to = floats.as_ref().expect("made above").address();
        let mut found = Vec::with_capacity(questions.len() * len);
        for part in questions.chunks(each) {
            words.clear();
            words.extend(part.iter().flat_map(&words_of));
            launch(part, upload.begin(&session.driver, words)?, to)?;
            found.extend(session.read_floats(to, part.len() * len)?);
        }
        Ok(found)
    }

    fn expect_current(&self) -> Result<()> {
        if self.session.pool.num_takes() == self.num_takes {
            return Ok(());
        }
        Err(CudaError::Operation("these logits are of a step that is over".into()))
    }
}
