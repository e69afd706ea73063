//! Rows of logits, here or on the device that computed them.

use candle_core::Result;

/// Neighbours whose largest logit a device tells without the logits themselves.
pub const LOGITS_BLOCK: usize = 256;

/// Logits of the wanted rows, one after the other.
#[derive(Debug)]
pub struct Logits {
    rows: Rows,
    vocab_size: usize,
}

#[derive(Debug)]
enum Rows {
    Here(Vec<f32>),
    Distant(Box<dyn DistantLogits>),
}

/// Logits that stay on a device, until it computes the next step.
///
/// A row is in blocks of [`LOGITS_BLOCK`], the last of which may be shorter.
pub trait DistantLogits: std::fmt::Debug + Send + Sync {
    fn num_rows(&self) -> usize;

    /// The largest logit of each block of a row; infinite if there is a NaN or an infinity in it.
    fn maxima(&self, row: usize) -> &[f32];

    /// What each block weighs: `[rows.len(), num_blocks]`, of the bits that the sampler has here.
    fn weigh(&self, rows: &[WeighRow]) -> Result<Vec<f32>>;

    /// Blocks, each a row and the block's number, filled up to their length: `[blocks.len(), 256]`.
    fn blocks(&self, blocks: &[(usize, usize)]) -> Result<Vec<f32>>;

    /// All logits of `rows`.
    fn rows(&self, rows: std::ops::Range<usize>) -> Result<Vec<f32>>;
}

/// A row whose blocks are weighed: each is the sum of `e^((logit - max) * inverse_temperature)`,
/// where less than `least` and next to nothing count as nothing. `max` is the row's largest logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeighRow {
    pub row: usize,
    pub max: f32,
    pub inverse_temperature: f32,
    pub least: f32,
}

impl Logits {
    /// Panics unless `values` is a whole number of rows.
    pub fn new(values: Vec<f32>, vocab_size: usize) -> Self {
        assert!(vocab_size > 0 && values.len().is_multiple_of(vocab_size));
        Self { rows: Rows::Here(values), vocab_size }
    }

    /// On a device.
    pub fn distant(rows: Box<dyn DistantLogits>, vocab_size: usize) -> Self {
        Self { rows: Rows::Distant(rows), vocab_size }
    }

    pub fn num_rows(&self) -> usize {
        match &self.rows {
            Rows::Here(values) => values.len() / self.vocab_size,
            Rows::Distant(rows) => rows.num_rows(),
        }
    }

    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The same with all rows here.
    pub fn fetched(self) -> Result<Self> {
        match self.rows {
            Rows::Here(_) => Ok(self),
            Rows::Distant(rows) => Ok(Self::new(rows.rows(0..rows.num_rows())?, self.vocab_size)),
        }
    }

    /// Panics for rows that are not here.
    pub fn row(&self, index: usize) -> &[f32] {
        match &self.rows {
            Rows::Here(values) => &values[index * self.vocab_size..(index + 1) * self.vocab_size],
            Rows::Distant(_) => panic!("the rows are on a device; `fetched` brings them"),
        }
    }

    /// `None` if the rows are here.
    pub fn as_distant(&self) -> Option<&dyn DistantLogits> {
        match &self.rows {
            Rows::Here(_) => None,
            Rows::Distant(rows) => Some(rows.as_ref()),
        }
    }
}
