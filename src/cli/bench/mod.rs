//! `outcrop bench`: how fast a model loads, reads and writes on this machine.
//!
//! It drives the model itself rather than the engine around it: an engine decides batches, and a
//! measurement must. What is left out is sampling, text and HTTP.

mod bandwidth;
pub(super) mod gpu_check;
mod output;
mod runner;

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::cli::{
    load::ModelOptions,
    machine, models, progress,
    report::{self, Format},
};
use crate::hub::{CatalogueModel, Hub};
use crate::limits::KV_BLOCK_SIZE;
use crate::model::{
    Checkpoint, Decoder, Device, DeviceChoice, KvCache, KvCacheConfig, KvDtype, ModelConfig,
    synthetic::Synthetic,
    weights::{LoadOptions, Quantization, TensorMap},
};
use crate::ops::{Ceilings, OperationTime, num_threads, profiled};

use self::runner::{Runner, Workload};

#[derive(Debug)]
pub(super) struct BenchOptions {
    pub model: BenchModel,
    pub prompt_tokens: Vec<usize>,
    pub generate: Vec<usize>,
    pub depths: Vec<usize>,
    pub batches: Vec<usize>,
    pub repeats: usize,
    pub profile: bool,
    pub max_num_batched_tokens: usize,
    pub device: DeviceChoice,
    pub kv_cache_dtype: KvDtype,
    pub seed: u64,
    pub format: Format,
}

#[derive(Debug)]
pub(super) enum BenchModel {
    Checkpoint(ModelOptions),
    Synthetic(SyntheticModel),
}

#[derive(Debug)]
pub(super) struct SyntheticModel {
    pub model: &'static CatalogueModel,
    pub quantization: Quantization,
    pub seed: u64,
}

/// What was measured, and on what.
#[derive(Debug)]
struct Report {
    model: String,
    config: ModelConfig,
    num_parameters: Option<u64>,
    quantization: String,
    weight_bytes: u64,
    load_time: Duration,
    threads: usize,
    /// What computes.
    device: String,
    /// Of a GPU.
    ceilings: Option<Ceilings>,
    kv_cache_dtype: KvDtype,
    repeats: usize,
    peak_memory: Option<u64>,
    rows: Vec<Row>,
}

/// One line: a kind of work, at a batch and a depth.
#[derive(Debug)]
struct Row {
    workload: Workload,
    /// Seconds of each repeat.
    seconds: Vec<f64>,
    /// Bytes that a step must read, for decode.
    step_bytes: Option<f64>,
    /// Bytes a second that the memory gave beside each repeat, for decode.
    bandwidths: Vec<f64>,
    /// Operations of one repeat, on a GPU: a multiplication and an addition count two.
    operations: Option<f64>,
    profile: Option<Profile>,
}

/// Where the time of one more repeat went.
#[derive(Debug)]
struct Profile {
    total: Duration,
    /// The longest first; what they leave of the total is outside of operations.
    operations: Vec<OperationTime>,
}

struct Model {
    name: String,
    tensors: TensorMap,
    config: ModelConfig,
    num_parameters: Option<u64>,
    quantization: String,
}

pub(super) fn run(options: &BenchOptions, hub: &Hub) -> anyhow::Result<()> {
    let report = measured(options, hub)?;
    report::print(&match options.format {
        Format::Table => output::table(&report),
        Format::Json => output::json(&report),
        Format::Csv => output::csv(&report),
    })
}

fn measured(options: &BenchOptions, hub: &Hub) -> anyhow::Result<Report> {
    if cfg!(debug_assertions) {
        tracing::warn!(
            "this is an unoptimized build; its figures say nothing (cargo run --release)"
        );
    }
    machine::warn_of_distrusted_kernels();
    // The download, if there is one, is not part of loading.
    let path = match &options.model {
        BenchModel::Checkpoint(model) => Some(model.source.locate(hub)?),
        BenchModel::Synthetic(_) => None,
    };
    let device = Device::open(options.device).context("cannot compute on that device")?;
    let ceilings = device.ceilings().context("cannot measure the GPU")?;
    let started_at = Instant::now();
    let mut model = match (&options.model, path) {
        (BenchModel::Checkpoint(model), Some(path)) => open(model, &path, &device)?,
        (BenchModel::Synthetic(synthetic), _) => {
            let (id, config) = (&synthetic.model.id, models::config_of(synthetic.model)?);
            let made = Synthetic::new(config, synthetic.quantization, synthetic.seed)?;
            synthesize(id, synthetic.quantization, &made, &device)?
        }
        (BenchModel::Checkpoint(_), None) => unreachable!("a checkpoint has been located"),
    };
    let weight_bytes = model.tensors.num_bytes() as u64;
    let read_bytes = weight_bytes - unread_bytes(&model);
    let decoder = Decoder::new(model.config.clone(), &mut model.tensors)?;
    let load_time = started_at.elapsed();
    let kv_cache = kv_cache(&model.config, options, &device)?;
    let (rows_max, seed) = (options.max_num_batched_tokens, options.seed);
    let batch_max = largest(&options.batches);
    let mut runner = Runner::new(Box::new(decoder), kv_cache, batch_max, rows_max, seed);
    let mut peak = Peak::default();
    let (repeats, profile) = (options.repeats, options.profile);
    let target = Target { repeats, profile, config: &model.config, read_bytes, ceilings };
    let rows = measure(options, &target, &mut runner, &mut peak)?;
    peak.sample();
    Ok(Report {
        model: model.name,
        config: model.config,
        num_parameters: model.num_parameters,
        quantization: model.quantization,
        weight_bytes,
        load_time,
        threads: num_threads(),
        device: device.name(),
        ceilings,
        kv_cache_dtype: options.kv_cache_dtype,
        repeats: options.repeats,
        peak_memory: peak.bytes,
        rows,
    })
}

/// What every row is measured by.
struct Target<'a> {
    repeats: usize,
    profile: bool,
    config: &'a ModelConfig,
    /// Of weights, in a step.
    read_bytes: u64,
    ceilings: Option<Ceilings>,
}

fn open(options: &ModelOptions, path: &std::path::Path, device: &Device) -> anyhow::Result<Model> {
    let checkpoint = Checkpoint::open(path)?;
    let bar = progress::bytes("loading", checkpoint.num_bytes());
    let load = LoadOptions {
        device,
        quantize: options.quantize,
        progress: &|done, _| bar.set_position(done),
    };
    let tensors =
        checkpoint.load(&load).with_context(|| format!("cannot load {}", path.display()))?;
    bar.finish_and_clear();
    let quantization = match options.quantize {
        Some(quantization) => format!("{quantization}, from {}", checkpoint.quantization()),
        None => checkpoint.quantization(),
    };
    Ok(Model {
        name: options.source.name(),
        tensors,
        config: checkpoint.config().clone(),
        num_parameters: Some(checkpoint.num_parameters()),
        quantization,
    })
}

fn synthesize(
    id: &str,
    quantization: Quantization,
    synthetic: &Synthetic,
    device: &Device,
) -> anyhow::Result<Model> {
    let needed = synthetic.num_bytes();
    if let Some(available) = available_memory(device)?.filter(|available| *available < needed) {
        let (needed, available) = (report::bytes(needed), report::bytes(available));
        bail!("{id} needs {needed} of memory, but {available} are available");
    }
    let bar = progress::bytes("making up", needed);
    let tensors = synthetic.tensor_map(device, &|done, _| bar.set_position(done))?;
    bar.finish_and_clear();
    Ok(Model {
        name: format!("{id} (random weights)"),
        tensors,
        config: synthetic.config().clone(),
        num_parameters: None,
        quantization: quantization.to_string(),
    })
}

/// Of an embedding that is not the head as well, a step reads a row for each token, which is next
/// to nothing.
fn unread_bytes(model: &Model) -> u64 {
    match model.config.tie_word_embeddings {
        true => 0,
        false => model.tensors.bytes_of("token_embd.weight").unwrap_or(0) as u64,
    }
}

fn largest(values: &[usize]) -> usize {
    values.iter().copied().max().unwrap_or(0)
}

/// Room for the longest measurement at the largest batch.
fn kv_cache(
    config: &ModelConfig,
    options: &BenchOptions,
    device: &Device,
) -> anyhow::Result<KvCache> {
    let longest = largest(&options.prompt_tokens).max(largest(&options.generate));
    let longest = longest.saturating_add(largest(&options.depths));
    if longest > config.max_position_embeddings {
        let limit = config.max_position_embeddings;
        bail!("depth and tokens together are {longest}, but the model's context is {limit}");
    }
    let block_size = KV_BLOCK_SIZE;
    let mut kv = KvCacheConfig::for_budget(config, options.kv_cache_dtype, block_size, 0);
    kv.num_blocks = longest.div_ceil(block_size) * largest(&options.batches);
    let needed = kv.num_blocks as u64 * kv.block_bytes() as u64;
    if let Some(available) = available_memory(device)?.filter(|available| *available < needed) {
        let (needed, available) = (report::bytes(needed), report::bytes(available));
        bail!("keys and values need {needed} of memory, but {available} are available");
    }
    Ok(KvCache::new(kv, device)?)
}

/// Where weights and cache go.
fn available_memory(device: &Device) -> anyhow::Result<Option<u64>> {
    Ok(device.free_bytes()?.or_else(machine::available_memory))
}

fn measure(
    options: &BenchOptions,
    target: &Target<'_>,
    runner: &mut Runner,
    peak: &mut Peak,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &batch in &options.batches {
        for &depth in &options.depths {
            runner.fill_context(batch, depth)?;
            for &tokens in &options.prompt_tokens {
                let workload = Workload::Prefill { batch, depth, tokens };
                rows.push(row(target, runner, workload, peak)?);
            }
            for &tokens in &options.generate {
                let workload = Workload::Decode { batch, depth, tokens };
                rows.push(row(target, runner, workload, peak)?);
            }
        }
    }
    Ok(rows)
}

fn row(
    target: &Target<'_>,
    runner: &mut Runner,
    workload: Workload,
    peak: &mut Peak,
) -> anyhow::Result<Row> {
    runner.warm_up(workload)?;
    let mut row = Row {
        workload,
        seconds: Vec::new(),
        step_bytes: None,
        bandwidths: Vec::new(),
        operations: target.ceilings.map(|_| workload.operations(target.config)),
        profile: None,
    };
    for _ in 0..target.repeats {
        row.seconds.push(runner.run(workload)?.as_secs_f64());
        if let Workload::Decode { .. } = workload {
            row.bandwidths.push(match target.ceilings {
                Some(ceilings) => ceilings.copy_bytes_per_s,
                None => peak
                    .without(|| bandwidth::measure(num_threads()))
                    .context("cannot measure the memory's bandwidth")?,
            });
        }
    }
    if target.profile {
        let (total, operations) = profiled(|| runner.run(workload));
        row.profile = Some(Profile { total: total?, operations });
    }
    if let Workload::Decode { .. } = workload {
        row.step_bytes = Some(target.read_bytes as f64 + runner.mean_kv_bytes(workload));
    }
    Ok(row)
}

/// The model's peak memory, without the buffer that bandwidth is measured with.
#[derive(Debug, Default)]
struct Peak {
    bytes: Option<u64>,
    /// The kernel did not start the peak anew, so that it can no longer be the model's own.
    lost: bool,
}

impl Peak {
    fn sample(&mut self) {
        if !self.lost {
            self.bytes = self.bytes.max(machine::peak_memory());
        }
    }

    fn without<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.sample();
        let result = work();
        self.lost |= !machine::reset_peak_memory();
        result
    }
}
