//! Linear layers over unquantized weights: their arguments.
//!
//! Weights stay in their storage type and are widened in registers; sums are `f32`. Candle would
//! either widen 16-bit weights to `f32` in memory or round the activations to the weights' type.

use crate::columns::Columns;
use crate::floats::Floats;

/// Some rows of a weight matrix `[n, k]` and all rows of activations.
#[derive(Debug, Clone, Copy)]
pub struct LinearArgs<'a> {
    /// `[num_weights, k]`.
    pub weights: Floats<'a>,
    /// `[num_rows, k]`.
    pub rows: &'a [f32],
    pub k: usize,
}

impl LinearArgs<'_> {
    pub(crate) fn check(&self, out: &Columns<'_>) {
        assert_eq!(Some(self.weights.len()), out.width().checked_mul(self.k));
        assert_eq!(Some(self.rows.len()), out.num_rows().checked_mul(self.k));
    }
}
