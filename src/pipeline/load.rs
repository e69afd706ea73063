//! From a checkpoint on disk to a pipeline: weights, text, decoder, KV cache, engine.

use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::Device;
use thiserror::Error;

use crate::chat::{AssetsError, HfFiles, SamplingDefaults, TextAssets};
use crate::engine::{Engine, EngineConfig, StartError};
use crate::limits;
use crate::model::checkpoint::{CheckpointError, TextSource};
use crate::model::config::Architecture;
use crate::model::weights::{LoadOptions as WeightOptions, Quantization};
use crate::model::{Checkpoint, Decoder, KvCache, KvCacheConfig, KvDtype, ModelError};
use crate::pipeline::Pipeline;

#[derive(Clone, Copy)]
pub struct LoadOptions<'a> {
    /// A GGUF file, or a directory as [`Checkpoint::open`] takes it.
    pub path: &'a Path,
    /// Quantize weights that the files hold as floats.
    pub quantize: Option<Quantization>,
    pub kv_cache_dtype: KvDtype,
    /// Memory for keys and values; blocks are taken from it as they are first used.
    pub kv_cache_bytes: u64,
    /// Limits beyond what model and cache can hold are lowered.
    pub engine: &'a EngineConfig,
    /// What the model's makers recommend, for a checkpoint whose files do not say it.
    pub recommended_sampling: SamplingDefaults,
    /// Told how many bytes of the weights are loaded, and of how many. Called from several threads.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// A model that is ready to answer.
#[derive(Debug)]
pub struct Loaded {
    pub pipeline: Pipeline,
    pub facts: ModelFacts,
}

/// What there is to say about a loaded model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelFacts {
    pub architecture: Architecture,
    pub num_parameters: u64,
    pub weight_bytes: u64,
    /// Element types with their share of the bytes in the files.
    pub quantization: String,
    /// Tokens that prompt and answer may have together.
    pub max_model_len: usize,
    /// Tokens whose keys and values fit into the cache, all sequences together.
    pub kv_cache_tokens: usize,
    pub load_time: Duration,
}

#[derive(Debug, Error)]
pub enum LoadError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("the text side of the checkpoint cannot be used: {0}")]
    Assets(#[from] AssetsError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("the KV cache's {bytes} bytes do not hold the {block_bytes} bytes of one block")]
    KvCacheTooSmall { bytes: u64, block_bytes: usize },
    #[error("the engine did not start: {0}")]
    Start(#[from] StartError),
}

/// Busy for as long as it takes to read and convert the weights.
pub fn load(options: &LoadOptions<'_>) -> Result<Loaded, LoadError> {
    let started_at = Instant::now();
    let device = Device::Cpu;
    let checkpoint = Checkpoint::open(options.path)?;
    // Text first: it is quick, and there is no use in loading weights that nobody can talk to.
    let mut text = text_assets(checkpoint.text())?;
    text.sampling = text.sampling.or(options.recommended_sampling);
    let weights =
        WeightOptions { device: &device, quantize: options.quantize, progress: options.progress };
    let mut tensors = checkpoint.load(&weights)?;
    let weight_bytes = tensors.num_bytes() as u64;
    let decoder = Decoder::new(checkpoint.config().clone(), &mut tensors)?;
    let kv_cache = kv_cache(options, &checkpoint, &device)?;
    let kv_config = kv_cache.config();
    let kv_cache_tokens = kv_config.num_blocks * kv_config.block_size;
    let engine = Engine::start(Box::new(decoder), kv_cache, options.engine.clone())?;
    let facts = ModelFacts {
        architecture: checkpoint.config().architecture,
        num_parameters: checkpoint.num_parameters(),
        weight_bytes,
        quantization: checkpoint.quantization(),
        max_model_len: engine.config().max_model_len,
        kv_cache_tokens,
        load_time: started_at.elapsed(),
    };
    Ok(Loaded { pipeline: Pipeline::new(text, engine), facts })
}

fn text_assets(source: &TextSource) -> Result<TextAssets, AssetsError> {
    match source {
        TextSource::Gguf(metadata) => TextAssets::from_gguf(metadata),
        TextSource::HuggingFace(files) => TextAssets::from_hf(&HfFiles {
            tokenizer_json: &files.tokenizer_json,
            tokenizer_config_json: files.tokenizer_config_json.as_deref(),
            generation_config_json: files.generation_config_json.as_deref(),
            chat_template_jinja: files.chat_template_jinja.as_deref(),
        }),
    }
}

fn kv_cache(
    options: &LoadOptions<'_>,
    checkpoint: &Checkpoint,
    device: &Device,
) -> Result<KvCache, LoadError> {
    let bytes = options.kv_cache_bytes;
    let (dtype, block_size) = (options.kv_cache_dtype, limits::KV_BLOCK_SIZE);
    let config = KvCacheConfig::for_budget(checkpoint.config(), dtype, block_size, bytes);
    if config.num_blocks == 0 {
        let block_bytes = config.block_bytes();
        return Err(LoadError::KvCacheTooSmall { bytes, block_bytes });
    }
    Ok(KvCache::new(config, device)?)
}
