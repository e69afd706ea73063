//! One NVIDIA GPU: its memory, the kernels, cuBLASLt, and the operations of a decoder on them.
//!
//! Owns all that is unsafe about a GPU: whoever calls cannot make a kernel read or write outside of
//! what it was given. Must not know models.
//!
//! The driver and cuBLASLt are loaded when a [`Session`] is opened, so a program with this in it
//! starts on machines that have neither.

mod args;
mod attention;
mod batch;
mod blas;
mod driver;
mod linear;
mod logits;
mod memory;
mod rows;
mod session;
mod sys;

pub use attention::{KvLayer, KvShape};
pub use batch::{Batch, BatchSeq, BatchSpec};
pub use driver::Graph;
pub use linear::{Layer, Matrix, WeightFormat};
pub use logits::{LOGITS_BLOCK, Logits, LogitsBlock, WeighRow};
pub use memory::Buffer;
pub use rows::{Rotations, Rows, Vector};
pub use session::{Session, SessionInfo};

use thiserror::Error;

/// Number format of activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Float {
    F32,
    F16,
    Bf16,
}

impl Float {
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// In kernels' names.
    fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }

    /// In kernels' arguments.
    fn code(self) -> i32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Bf16 => 2,
        }
    }
}

#[derive(Debug, Error)]
pub enum CudaError {
    #[error(
        "no NVIDIA driver: libcuda.so.1 cannot be loaded (in a container, give it the GPU: \
         docker run --gpus all)"
    )]
    NoDriver,
    #[error("cuBLASLt cannot be loaded: neither libcublasLt.so.13 nor .12 is in the library path")]
    NoBlas,
    #[error("there is no GPU")]
    NoGpu,
    #[error("there is no GPU {ordinal}; {count} are there, from 0 on")]
    NoSuchGpu { ordinal: usize, count: usize },
    #[error(
        "the driver is for CUDA {}.{}, but 13.0 or newer is needed",
        version / 1000,
        version % 1000 / 10
    )]
    OldDriver { version: i32 },
    #[error("this program was built without kernels (CUDA_COMPUTE_CAP=none)")]
    NoKernels,
    #[error("{name} has compute capability {major}.{minor}, but 7.5 or newer is needed")]
    OldGpu { name: String, major: i32, minor: i32 },
    #[error("the GPU has no memory for {bytes} more bytes")]
    OutOfMemory { bytes: usize },
    #[error("{call} failed: {message} ({code})")]
    Driver { call: &'static str, code: i32, message: String },
    /// Work on the GPU has gone wrong in a way that ends its context: an illegal address, an error
    /// of its memory, a GPU that fell off the bus. Only another process can use it again.
    #[error("the GPU is lost to this process: {0}")]
    Lost(Box<CudaError>),
    #[error("cuBLASLt is of version {version}, but one of CUDA 12 or newer is needed")]
    OldBlas { version: usize },
    #[error("{call} of cuBLASLt failed with status {status}")]
    Blas { call: &'static str, status: i32 },
    #[error("kernel `{name}` takes {expected} bytes of arguments, not {found}")]
    Arguments { name: String, expected: usize, found: usize },
    /// Of whoever has operations done, in its own words.
    #[error("{0}")]
    Operation(String),
    #[error("{what} is {found}, but {expected}")]
    Shape { what: &'static str, found: String, expected: String },
}

impl CudaError {
    fn shape(what: &'static str, found: impl ToString, expected: impl Into<String>) -> Self {
        Self::Shape { what, found: found.to_string(), expected: expected.into() }
    }
}

pub type Result<T> = std::result::Result<T, CudaError>;
