//! From a checkpoint on disk to a pipeline: weights, text, decoder, KV cache, engine.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::chat::{AssetsError, HfFiles, SamplingDefaults, TextAssets};
use crate::engine::{Draft, Engine, EngineConfig, StartError};
use crate::limits;
use crate::model::checkpoint::{CheckpointError, TextSource};
use crate::model::config::Architecture;
use crate::model::weights::{LoadOptions as WeightOptions, Quantization};
use crate::model::{
    CausalLm, Checkpoint, Decoder, Device, DeviceChoice, KvCache, KvCacheConfig, KvDtype,
    ModelConfig, ModelError, warm_up,
};
use crate::pipeline::Pipeline;

#[derive(Clone, Copy)]
pub struct LoadOptions<'a> {
    /// A GGUF file, or a directory as [`Checkpoint::open`] takes it.
    pub path: &'a Path,
    /// A smaller checkpoint of the same vocabulary, which guesses what the model will write.
    pub draft: Option<&'a Path>,
    /// Quantize weights that the files hold as floats.
    pub quantize: Option<Quantization>,
    pub kv_cache_dtype: KvDtype,
    /// Memory for keys and values, the draft's included.
    pub kv_budget: KvBudget,
    pub device: DeviceChoice,
    /// Limits beyond what model and cache can hold are lowered.
    pub engine: &'a EngineConfig,
    /// In place of the engine's; `None`: what suits the device.
    pub max_num_batched_tokens: Option<usize>,
    /// What the model's makers recommend, for a checkpoint whose files do not say it.
    pub recommended_sampling: SamplingDefaults,
    /// Told how many bytes of the weights are loaded, and of how many, for the model and then for
    /// the draft. Called from several threads.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// Memory for a model's keys and values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KvBudget {
    /// What was asked for.
    pub bytes: Option<u64>,
    /// Else of a CPU's memory; blocks are taken from it as they are first used.
    pub on_cpu: u64,
    /// Else so much of a GPU's memory is taken, all models and their weights together,
    pub gpu_fraction: f64,
    /// of which the weights of models that are loaded later need this,
    pub gpu_reserved: u64,
    /// and this model and those get equal parts of the rest.
    pub models_left: usize,
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
    /// What computes.
    pub device: String,
}

#[derive(Debug, Error)]
pub enum LoadError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("the text side of the checkpoint cannot be used: {0}")]
    Assets(#[from] AssetsError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(
        "{} cannot draft for {}: token {id} is not the same, so it has another vocabulary",
        draft.display(),
        model.display()
    )]
    DraftVocabulary { draft: PathBuf, model: PathBuf, id: u32 },
    #[error("the KV cache's {bytes} bytes do not hold the {block_bytes} bytes of one block")]
    KvCacheTooSmall { bytes: u64, block_bytes: usize },
    #[error("cannot compute on the device that was asked for: {0}")]
    Device(candle_core::Error),
    #[error("the engine did not start: {0}")]
    Start(#[from] StartError),
}

/// Busy for as long as it takes to read and convert the weights.
pub fn load(options: &LoadOptions<'_>) -> Result<Loaded, LoadError> {
    let started_at = Instant::now();
    let device = Device::open(options.device).map_err(LoadError::Device)?;
    let engine = engine_config(options, &device);
    let options = &LoadOptions { engine: &engine, ..*options };
    let checkpoint = Checkpoint::open(options.path)?;
    // A vocabulary takes as long as a third of the weights, and does not share its work.
    let (text, decoder) = thread::scope(|scope| {
        let text = scope.spawn(|| text_assets(checkpoint.text()));
        let decoder = decoder(&checkpoint, options, &device);
        (text.join(), decoder)
    });
    let mut text = text.unwrap_or_else(|panic| resume_unwind(panic))?;
    let (decoder, weight_bytes) = decoder?;
    text.sampling = text.sampling.or(options.recommended_sampling);
    let draft = options.draft.map(|path| open_draft(path, options.path, &text)).transpose()?;
    let mut configs = vec![decoder.config()];
    let draft_device = match draft {
        Some(_) => Device::open(options.device).map_err(LoadError::Device)?,
        None => device.clone(),
    };
    let draft =
        draft.map(|checkpoint| self::decoder(&checkpoint, options, &draft_device)).transpose()?;
    configs.extend(draft.iter().map(|(draft, _)| draft.config()));
    let (kv_cache, draft_cache) = kv_caches(options, &configs, [&device, &draft_device])?;
    let kv_cache_tokens = kv_cache.config().num_blocks * kv_cache.config().block_size;
    let draft = draft
        .zip(draft_cache)
        .map(|((model, _), kv_cache)| Draft { model: Box::new(model), kv_cache });
    let engine = Engine::start(Box::new(decoder), kv_cache, draft, options.engine.clone())?;
    let facts = ModelFacts {
        architecture: checkpoint.config().architecture,
        num_parameters: checkpoint.num_parameters(),
        weight_bytes,
        quantization: checkpoint.quantization(),
        max_model_len: engine.config().max_model_len,
        kv_cache_tokens,
        load_time: started_at.elapsed(),
        device: device.name(),
    };
    Ok(Loaded { pipeline: Pipeline::new(text, engine), facts })
}

fn engine_config(options: &LoadOptions<'_>, device: &Device) -> EngineConfig {
    let usual = match device.is_cpu() {
        true => limits::ROWS_PER_STEP_CPU,
        false => limits::ROWS_PER_STEP_GPU,
    };
    let max_num_batched_tokens = options.max_num_batched_tokens.unwrap_or(usual);
    EngineConfig { max_num_batched_tokens, ..options.engine.clone() }
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

/// Refuses a draft whose tokens are not the model's.
fn open_draft(path: &Path, model: &Path, text: &TextAssets) -> Result<Checkpoint, LoadError> {
    let checkpoint = Checkpoint::open(path)?;
    let tokenizer = text_assets(checkpoint.text())?.tokenizer;
    match text.tokenizer.first_difference(&tokenizer) {
        None => Ok(checkpoint),
        Some(id) => {
            let (draft, model) = (path.to_owned(), model.to_owned());
            Err(LoadError::DraftVocabulary { draft, model, id })
        }
    }
}

/// The model with its weights, and their bytes.
fn decoder(
    checkpoint: &Checkpoint,
    options: &LoadOptions<'_>,
    device: &Device,
) -> Result<(Decoder, u64), LoadError> {
    let (quantize, progress) = (options.quantize, options.progress);
    let mut tensors = checkpoint.load(&WeightOptions { device, quantize, progress })?;
    let weight_bytes = tensors.num_bytes() as u64;
    let mut decoder = Decoder::new(checkpoint.config().clone(), &mut tensors)?;
    if !device.is_cpu() {
        // A GPU's memory is sized by what the largest step leaves.
        let engine = options.engine;
        let rows = (engine.max_num_batched_tokens, engine.max_num_seqs);
        warm_up(&mut decoder, options.kv_cache_dtype, rows, device)?;
    }
    Ok((decoder, weight_bytes))
}

/// What a GPU's memory is given out in: each of `num_buffers` may take as much more than it holds.
const GPU_PAGE_BYTES: u64 = 2 << 20;

/// Bytes for keys and values in `num_buffers`, as far as weights and steps leave them.
fn kv_cache_bytes(budget: &KvBudget, device: &Device, num_buffers: u64) -> Result<u64, LoadError> {
    if let Some(bytes) = budget.bytes {
        return Ok(bytes);
    }
    let free = device.free_bytes().map_err(LoadError::Device)?;
    let (Some(free), Some(total)) = (free, device.total_bytes()) else { return Ok(budget.on_cpu) };
    let left_alone = (total as f64 * (1.0 - budget.gpu_fraction)) as u64;
    let left_alone = left_alone.max(num_buffers * GPU_PAGE_BYTES);
    let room = free.saturating_sub(left_alone).saturating_sub(budget.gpu_reserved);
    Ok(room / budget.models_left.max(1) as u64)
}

/// A cache for each of the one or two models, of as many blocks as fit into the budget together.
fn kv_caches(
    options: &LoadOptions<'_>,
    models: &[&ModelConfig],
    devices: [&Device; 2],
) -> Result<(KvCache, Option<KvCache>), LoadError> {
    // Keys and values of each layer.
    let num_buffers = models.iter().map(|model| 2 * model.num_layers as u64).sum();
    let bytes = kv_cache_bytes(&options.kv_budget, devices[0], num_buffers)?;
    let (dtype, block_size) = (options.kv_cache_dtype, limits::KV_BLOCK_SIZE);
    let configs =
        models.iter().map(|model| KvCacheConfig::for_budget(model, dtype, block_size, bytes));
    let block_bytes = configs.clone().map(|config| config.block_bytes()).sum::<usize>();
    let num_blocks = usize::try_from(bytes / block_bytes as u64).unwrap_or(usize::MAX);
    if num_blocks == 0 {
        return Err(LoadError::KvCacheTooSmall { bytes, block_bytes });
    }
    let mut caches = configs
        .zip(devices)
        .map(|(config, device)| KvCache::new(KvCacheConfig { num_blocks, ..config }, device));
    let own = caches.next().expect("there is a model")?;
    Ok((own, caches.next().transpose()?))
}
