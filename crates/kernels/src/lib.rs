//! The SIMD kernels of Outcrop: paged attention, linear layers over weights in floats and in
//! blocks of 32 quants, and the row operations of a decoder.
//!
//! A [`KernelTable`] is a set of kernels for one instruction set; it comes only from constructors
//! that checked the CPU. Kernels are single-threaded over a range of rows: the caller owns the
//! threads. They are concrete functions, because a generic one would be compiled in the caller,
//! without the optimization that this package asks for.
//!
//! Every kernel is *batch-invariant*: the bits of a row's result depend on that row's inputs only,
//! never on the other rows, on how rows are split over calls, or on which blocks hold the context.

#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod check;
mod columns;
#[cfg(target_arch = "x86_64")]
mod fetch;
mod floats;
mod kv;
mod kv_q8_0;
mod linear;
mod packed;
mod quantized;
mod read;
mod row;
mod scalar;
mod super_blocks;
mod table;

pub use attention::{AttendArgs, AttendRowsArgs, PARTITION, Partials, merge_partials, partial_len};
pub use columns::Columns;
pub use floats::{Floats, FloatsMut};
pub use kv::{KvElements, KvShape, Slot, UnpackArgs, write_kv};
pub use kv_q8_0::{Block, write_kv_q8_0};
pub use linear::LinearArgs;
pub use packed::{GROUP, PackedFormat};
pub use quantized::{BLOCK_LEN, BlockFormat, QuantizedLinearArgs, ROW_TILE, RowBlock};
pub use row::{RmsNormArgs, RopeArgs, RopeLayout, add_bias, add_rows};
pub use super_blocks::{SUPER_LEN, SuperFormat, SuperLinearArgs, SuperRow};
pub use table::KernelTable;

/// Longest head that the attention kernels take, in elements.
pub const HEAD_DIM_MAX: usize = 256;
