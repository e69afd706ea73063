//! Where Candle meets the kernels: linear layers, paged attention, norms and rope as operations on
//! Candle tensors. Owns the threads; must not know models.
//!
//! All activations are `f32` and row-major, `[num_rows, ...]`.

mod attention;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod linear;
mod logits;
mod packed;
mod pages;
mod parallel;
mod profile;
mod rows;
mod step;
mod storage;
mod weight;

pub use attention::{PagedBatch, PagedSeq, paged_attention, write_kv};
#[cfg(feature = "cuda")]
pub use cuda::CudaDecoder;
pub use device::{Ceilings, Device, DeviceChoice, KvLayer, Rows};
pub use kernels::{
    BLOCK_LEN as Q8_0_BLOCK_LEN, HEAD_DIM_MAX as ATTENTION_HEAD_DIM_MAX, RopeLayout,
};

/// Of keys and values.
pub const Q8_0_BLOCK_BYTES: usize = kernels::BlockFormat::Q8_0.block_bytes();
pub use linear::{Embedding, Linear};
pub use logits::{DistantLogits, LOGITS_BLOCK, Logits, WeighRow};
pub use parallel::num_threads;
pub use profile::{OperationTime, profiled};
pub use rows::{RmsNorm, Rotation, add_rows, apply_rope, silu_mul};
#[cfg(feature = "cuda")]
pub use step::StepSpec;
pub use step::{CpuStep, Projections, Step};
pub use weight::{FileMatrix, Weight};

use ::kernels::KernelTable;

/// Name of the instruction set whose kernels compute.
pub fn instruction_set() -> &'static str {
    KernelTable::detect().name()
}

/// Name of one that this processor has too, but whose kernels made wrong numbers when they were
/// tried, so that they are not used.
pub fn distrusted_instruction_set() -> Option<&'static str> {
    KernelTable::distrusted()
}
