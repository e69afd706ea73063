//! Where a model computes, and what it computes with there.

use candle_core::{Result, Tensor};

/// Which device is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A GPU if this program can use one and there is one, else the CPU.
    #[default]
    Auto,
    Cpu,
    /// The GPU of this number.
    Cuda(usize),
}

/// What a GPU does at most, as measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// Bytes that copying within its memory reads and writes.
    pub copy_bytes_per_s: f64,
    /// Operations of a large product of 16-bit matrices.
    pub operations_per_s: f64,
}

/// A device as one model uses it: another model opens it for itself.
#[derive(Debug, Clone)]
pub enum Device {
    Cpu,
    #[cfg(feature = "cuda")]
    Cuda(std::sync::Arc<cuda::Session>),
}

impl Device {
    /// An error says what is missing. Automatically, a GPU that cannot be used is passed over with
    /// a warning, and one that is not there with a note.
    pub fn open(choice: DeviceChoice) -> Result<Self> {
        match choice {
            DeviceChoice::Cpu => Ok(Self::Cpu),
            DeviceChoice::Auto => Ok(open_if_any()),
            DeviceChoice::Cuda(ordinal) => open_gpu(ordinal),
        }
    }

    pub fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu)
    }

    /// Bytes of the device's own memory that are free; `None` for the CPU, whose memory is
    /// everybody's.
    pub fn free_bytes(&self) -> Result<Option<u64>> {
        match self {
            Self::Cpu => Ok(None),
            #[cfg(feature = "cuda")]
            Self::Cuda(session) => {
                let bytes = session.free_bytes().map_err(candle_core::Error::wrap)?;
                Ok(Some(bytes as u64))
            }
        }
    }

    /// Bytes of the device's own memory; `None` for the CPU.
    pub fn total_bytes(&self) -> Option<u64> {
        match self {
            Self::Cpu => None,
            #[cfg(feature = "cuda")]
            Self::Cuda(session) => Some(session.info().total_bytes as u64),
        }
    }

    /// What this GPU reaches, measured now; `None` for the CPU.
    pub fn ceilings(&self) -> Result<Option<Ceilings>> {
        match self {
            Self::Cpu => Ok(None),
            #[cfg(feature = "cuda")]
            Self::Cuda(session) => {
                super::cuda::ceilings(session).map(Some).map_err(candle_core::Error::wrap)
            }
        }
    }

    /// What computes there: the kernels of an instruction set, or a GPU.
    pub fn name(&self) -> String {
        match self {
            Self::Cpu => format!("{} kernels", super::instruction_set()),
            #[cfg(feature = "cuda")]
            Self::Cuda(session) => session.info().name,
        }
    }
}

#[cfg(feature = "cuda")]
fn open_gpu(ordinal: usize) -> Result<Device> {
    Ok(Device::Cuda(cuda::Session::open(ordinal).map_err(candle_core::Error::wrap)?))
}

#[cfg(not(feature = "cuda"))]
fn open_gpu(_: usize) -> Result<Device> {
    candle_core::bail!("this program was built without GPUs (cargo build --features cuda)")
}

#[cfg(feature = "cuda")]
fn open_if_any() -> Device {
    use cuda::CudaError;
    match cuda::Session::open(0) {
        Ok(session) => Device::Cuda(session),
        Err(error @ (CudaError::NoDriver | CudaError::NoGpu)) => {
            tracing::info!("the CPU computes: {error}");
            Device::Cpu
        }
        Err(error) => {
            tracing::warn!(%error, "the GPU cannot be used, so the CPU computes");
            Device::Cpu
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn open_if_any() -> Device {
    Device::Cpu
}

/// Activations, `[num_rows, width]`, on the device that computes.
#[derive(Debug)]
pub enum Rows {
    Cpu(Tensor),
    #[cfg(feature = "cuda")]
    Cuda(cuda::Rows),
}

/// Keys and values of a layer.
#[derive(Debug)]
pub enum KvLayer {
    /// Each `[num_blocks, num_kv_heads, block_size, head_dim]`, or of Q8_0 the bytes of as much.
    Cpu { keys: Tensor, values: Tensor },
    #[cfg(feature = "cuda")]
    Cuda(cuda::KvLayer),
}

impl KvLayer {
    /// Keys and values on the CPU. Panics for those of a GPU.
    pub fn tensors(&self) -> (&Tensor, &Tensor) {
        match self {
            Self::Cpu { keys, values } => (keys, values),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => panic!("keys and values are on a GPU"),
        }
    }
}
