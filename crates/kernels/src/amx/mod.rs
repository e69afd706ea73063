//! Kernels for AMX, beside AVX-512: products of many rows with weights in super-blocks. All else,
//! and products of few rows, are AVX-512's.
//!
//! A tile instruction multiplies bytes of sixteen rows of activations with those of sixteen weight
//! rows and adds to sums of 32 bits, which are exact; so the bits are those of the other kernels.

mod super_blocks;
mod tiles;

pub(crate) use super_blocks::super_linear;
pub(crate) use tiles::is_available;
