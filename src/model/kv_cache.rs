//! The paged KV cache: storage only. Which block belongs to whom is the engine's business.

use candle_core::{Device as CandleDevice, Tensor};
use half::{bf16, f16, vec::HalfBitsVecExt};

use crate::model::{ModelConfig, ModelError};
use crate::ops::{Device, KvLayer, Q8_0_BLOCK_BYTES, Q8_0_BLOCK_LEN};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvDtype {
    F32,
    F16,
    Bf16,
    /// Blocks of 32 elements with a scale each: 8.5 bits an element.
    Q8_0,
}

impl KvDtype {
    /// Elements of the cache's tensor for one head of one token, and bytes of each.
    fn head_len(self, head_dim: usize) -> (usize, usize) {
        match self {
            Self::F32 => (head_dim, 4),
            Self::F16 | Self::Bf16 => (head_dim, 2),
            // What is not whole blocks is refused when a cache is made.
            Self::Q8_0 => (Q8_0_BLOCK_BYTES * head_dim.div_ceil(Q8_0_BLOCK_LEN), 1),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvCacheConfig {
    pub num_layers: usize,
    pub num_kv_heads: usize,
    pub head_dim: usize,
    pub dtype: KvDtype,
    /// Tokens a block holds.
    pub block_size: usize,
    pub num_blocks: usize,
}

impl KvCacheConfig {
    /// As many blocks as fit into `budget_bytes`.
    pub fn for_budget(
        model: &ModelConfig,
        dtype: KvDtype,
        block_size: usize,
        budget_bytes: u64,
    ) -> Self {
        let mut config = Self {
            num_layers: model.num_layers,
            num_kv_heads: model.num_kv_heads,
            head_dim: model.head_dim,
            dtype,
            block_size,
            num_blocks: 0,
        };
        let num_blocks = budget_bytes / config.block_bytes() as u64;
        config.num_blocks = usize::try_from(num_blocks).unwrap_or(usize::MAX);
        config
    }

    /// Bytes of one block over all layers, keys and values.
    pub fn block_bytes(&self) -> usize {
        let (head_len, element_bytes) = self.dtype.head_len(self.head_dim);
        2 * self.num_layers * self.num_kv_heads * self.block_size * head_len * element_bytes
    }
}

/// Keys and values of every layer, each `[num_blocks, num_kv_heads, block_size, head_dim]`, or of
/// Q8_0 the bytes that hold as much.
///
/// On the CPU pages are allocated zeroed and untouched, so memory is taken as blocks are first
/// used; on a GPU it is taken at once.
#[derive(Debug)]
pub struct KvCache {
    config: KvCacheConfig,
    layers: Vec<KvLayer>,
}

impl KvCache {
    pub fn new(config: KvCacheConfig, device: &Device) -> Result<Self, ModelError> {
        if config.dtype == KvDtype::Q8_0 && !config.head_dim.is_multiple_of(Q8_0_BLOCK_LEN) {
            let (head_dim, block_len) = (config.head_dim, Q8_0_BLOCK_LEN);
            return Err(ModelError::QuantizedHeadDim { head_dim, block_len });
        }
        let layers = (0..config.num_layers)
            .map(|_| match device {
                Device::Cpu => {
                    Ok(KvLayer::Cpu { keys: zeroed(&config)?, values: zeroed(&config)? })
                }
                #[cfg(feature = "cuda")]
                Device::Cuda(session) => on_gpu(&config, session).map(KvLayer::Cuda),
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(Self { config, layers })
    }

    pub fn config(&self) -> &KvCacheConfig {
        &self.config
    }

    pub fn layer(&self, layer_id: usize) -> &KvLayer {
        &self.layers[layer_id]
    }
}

/// Half-precision buffers come from zeroed `u16`s: `vec![f16::ZERO; n]` would write every page.
fn zeroed(config: &KvCacheConfig) -> Result<Tensor, ModelError> {
    let device = &CandleDevice::Cpu;
    let (head_len, _) = config.dtype.head_len(config.head_dim);
    let shape = (config.num_blocks, config.num_kv_heads, config.block_size, head_len);
    let len = config.num_blocks * config.num_kv_heads * config.block_size * head_len;
    let tensor = match config.dtype {
        KvDtype::F32 => Tensor::from_vec(vec![0f32; len], shape, device)?,
        KvDtype::F16 => Tensor::from_vec(vec![0u16; len].reinterpret_into::<f16>(), shape, device)?,
        KvDtype::Bf16 => {
            Tensor::from_vec(vec![0u16; len].reinterpret_into::<bf16>(), shape, device)?
        }
        KvDtype::Q8_0 => Tensor::from_vec(vec![0u8; len], shape, device)?,
    };
    Ok(tensor)
}

#[cfg(feature = "cuda")]
fn on_gpu(config: &KvCacheConfig, session: &cuda::Session) -> Result<cuda::KvLayer, ModelError> {
    let shape = cuda::KvShape {
        num_blocks: config.num_blocks,
        num_kv_heads: config.num_kv_heads,
        block_size: config.block_size,
        head_dim: config.head_dim,
    };
    let dtype = match config.dtype {
        KvDtype::F16 => cuda::Float::F16,
        KvDtype::Bf16 => cuda::Float::Bf16,
        KvDtype::F32 | KvDtype::Q8_0 => return Err(ModelError::GpuKvDtype),
    };
    Ok(cuda::KvLayer::new(session, shape, dtype).map_err(candle_core::Error::wrap)?)
}
