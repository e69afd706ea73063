//! Rows that stay on a device: the few blocks of each that a draw reads are fetched, for all rows
//! of a step together, and a draw from them is the draw from the whole row.

use candle_core::Result;

use crate::engine::SamplingParams;
use crate::engine::sampler::candidates::{Block, Draw};
use crate::engine::sampler::weights::Weights;
use crate::model::{DistantLogits, LOGITS_BLOCK, Logits, WeighRow};

/// Of so many blocks the whole row is copied in less time than they are gathered.
const BLOCKS_MAX: usize = 64;

/// What a step wants of a row.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) enum RowUse<'a> {
    /// Whether it is made of numbers, or what only the whole row tells.
    Other,
    /// The token that is drawn at this index of its request, by nothing but these.
    Draw(&'a SamplingParams, u64),
}

/// What is known of rows that are elsewhere.
#[derive(Debug, Default)]
pub(in crate::engine) struct Fetched {
    rows: Vec<FetchedRow>,
    values: Vec<f32>,
}

#[derive(Debug, Default)]
struct FetchedRow {
    /// `None` for a row that is not made of numbers.
    max: Option<f32>,
    blocks: Vec<Block>,
    /// The blocks that are here, and where the first one's values begin.
    here: Vec<usize>,
    start: usize,
}

impl Fetched {
    /// Asks the device, once or twice, for what `uses` need; of rows that are here for nothing.
    pub(in crate::engine) fn of<'a>(
        logits: &Logits,
        uses: impl Iterator<Item = RowUse<'a>> + Clone,
    ) -> Result<Self> {
        let Some(distant) = logits.as_distant() else { return Ok(Self::default()) };
        let rows = (0..distant.num_rows()).map(|row| FetchedRow::of(distant, row)).collect();
        let mut fetched = Self { rows, values: Vec::new() };
        fetched.weigh(distant, logits.vocab_size(), uses.clone())?;
        let mut draw = Draw::default();
        let mut wanted = Vec::new();
        for (id, (row, row_use)) in fetched.rows.iter_mut().zip(uses).enumerate() {
            let (RowUse::Draw(params, index), Some(max)) = (row_use, row.max) else { continue };
            draw.blocks.clone_from(&row.blocks);
            let needed = draw.needed(logits.vocab_size(), max, params, index);
            if needed.len() <= BLOCKS_MAX {
                row.start = wanted.len() * LOGITS_BLOCK;
                wanted.extend(needed.iter().map(|&block| (id, block)));
                needed.iter().for_each(|&block| row.blocks[block].is_here = true);
                row.here = needed;
            }
        }
        if !wanted.is_empty() {
            fetched.values = distant.blocks(&wanted)?;
        }
        Ok(fetched)
    }

    fn weigh<'a>(
        &mut self,
        distant: &dyn DistantLogits,
        vocab_size: usize,
        uses: impl Iterator<Item = RowUse<'a>>,
    ) -> Result<()> {
        let mut wanted = Vec::new();
        for (row, (found, row_use)) in self.rows.iter().zip(uses).enumerate() {
            let (RowUse::Draw(params, _), Some(max)) = (row_use, found.max) else { continue };
            if params.needs_total(vocab_size) {
                let weights = Weights::new(max, params);
                let (inverse_temperature, least) = (weights.inverse_temperature, weights.min);
                wanted.push(WeighRow { row, max, inverse_temperature, least });
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let found = distant.weigh(&wanted)?;
        let num_blocks = found.len() / wanted.len();
        for (wanted, found) in wanted.iter().zip(found.chunks(num_blocks)) {
            for (block, weight) in self.rows[wanted.row].blocks.iter_mut().zip(found) {
                block.weight = *weight;
            }
        }
        Ok(())
    }

    /// Whether a row is made of numbers; `None` if it is not among those that are elsewhere.
    pub(in crate::engine) fn is_finite(&self, row: usize) -> Option<bool> {
        Some(self.rows.get(row)?.max.is_some())
    }

    /// Sets `draw` up with what is here of a row, `logits` being room for all of it, and returns
    /// the largest logit.
    pub(super) fn load(&self, row: usize, draw: &mut Draw, logits: &mut [f32]) -> Option<f32> {
        let row = self.rows.get(row)?;
        draw.blocks.clone_from(&row.blocks);
        let values = self.values.get(row.start..).unwrap_or_default();
        for (&block, values) in row.here.iter().zip(values.chunks(LOGITS_BLOCK)) {
            let room = &mut logits[block * LOGITS_BLOCK..];
            let len = room.len().min(LOGITS_BLOCK);
            room[..len].copy_from_slice(&values[..len]);
        }
        row.max
    }
}

impl FetchedRow {
    fn of(distant: &dyn DistantLogits, row: usize) -> Self {
        let maxima = distant.maxima(row);
        let max = maxima.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let block = |&max: &f32| Block { max, weight: 0.0, is_here: false };
        Self {
            max: max.is_finite().then_some(max),
            blocks: maxima.iter().map(block).collect(),
            ..Self::default()
        }
    }
}
