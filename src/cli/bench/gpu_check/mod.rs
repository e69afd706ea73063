//! `outcrop gpu-check`: whether a GPU computes what the CPU computes, and then how fast.
//!
//! It needs neither network nor files: models are made up, small ones to compare with the CPU, and
//! ones of the exact shapes that people run to measure.

mod correctness;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::cli::{bench, report};
use crate::hub;
use crate::limits::KV_BLOCK_SIZE;
use crate::model::{
    Decoder, Device, DeviceChoice, KvCache, KvCacheConfig, KvDtype, weights::Quantization,
};

use super::runner::{Runner, Workload};
use super::{BenchModel, BenchOptions, SyntheticModel, Target, output, synthesize};

#[derive(Debug)]
pub(in crate::cli) struct GpuCheckOptions {
    pub device: DeviceChoice,
    /// Catalogue ids of the shapes to measure; none only compares.
    pub shapes: Vec<String>,
    /// Where the figures go as JSON.
    pub json: Option<PathBuf>,
}

/// The shapes that are measured by default.
pub(in crate::cli) const SHAPES: &str = "deepseek-r1-distill-qwen-1.5b,deepseek-r1-distill-qwen-7b,\
                                         deepseek-r1-distill-llama-8b,deepseek-r1-distill-qwen-14b";

const QUANTIZATIONS: [Quantization; 2] = [Quantization::Bf16, Quantization::Q4KM];
const PROMPTS: [usize; 5] = [512, 1024, 2048, 4096, 8192];
const BATCHES: [usize; 4] = [1, 8, 32, 128];
const DEPTHS: [usize; 3] = [0, 2048, 8192];
const STEPS: usize = 64;

pub(in crate::cli) fn run(options: &GpuCheckOptions) -> anyhow::Result<()> {
    let device = Device::open(options.device).context("cannot compute on that device")?;
    ensure!(!device.is_cpu(), "gpu-check needs a GPU: --device cuda");
    report::print(&format!("{}\n", device.name()))?;
    let checks = correctness::checks(options.device, &|check| {
        let verdict = if check.has_passed() { "passed" } else { "FAILED" };
        let (name, found, allowed) = (&check.name, check.found, check.allowed());
        report::print(&format!("{verdict}  {name}: {found:.5} ({allowed})\n"))
    })?;
    let mut measured = Vec::new();
    let mut value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "device": device.name(),
        "checks": checks.iter().map(correctness::Check::json).collect::<Vec<_>>(),
    });
    let has_passed = checks.iter().all(correctness::Check::has_passed);
    if has_passed {
        for id in &options.shapes {
            for quantization in QUANTIZATIONS {
                measured.push(measure(id, quantization, options.device)?);
            }
        }
    }
    value["measured"] = measured.into();
    if let Some(path) = &options.json {
        fs::write(path, format!("{value:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if !has_passed {
        bail!("the GPU does not compute what the CPU computes; nothing was measured");
    }
    Ok(())
}

/// All figures of one shape, printed as they come.
fn measure(id: &str, quantization: Quantization, choice: DeviceChoice) -> anyhow::Result<Value> {
    let model = hub::find(id).map_err(anyhow::Error::from)?;
    let device = Device::open(choice)?;
    let ceilings = device.ceilings()?.context("a GPU has ceilings")?;
    report::print(&format!(
        "\n{id}, {quantization}; copying moves {:.0} GB/s, products make {:.0} TFLOP/s\n",
        ceilings.copy_bytes_per_s / 1e9,
        ceilings.operations_per_s / 1e12
    ))?;
    let synthetic = SyntheticModel { model, quantization, seed: 0 };
    let mut made = match synthesize(&synthetic, &device) {
        Ok(made) => made,
        Err(error) => return skipped(id, quantization, &error),
    };
    let read_bytes = made.tensors.num_bytes() as u64 - bench::unread_bytes(&made);
    let decoder = Decoder::new(made.config.clone(), &mut made.tensors)?;
    let options = bench_options(synthetic, choice);
    let target =
        Target { options: &options, config: &made.config, read_bytes, ceilings: Some(ceilings) };
    let mut model: Box<dyn crate::model::CausalLm> = Box::new(decoder);
    let mut rows = Vec::new();
    for (batch, depth, workloads) in plan() {
        let longest = workloads.iter().map(|w| w.depth() + w.tokens()).max().unwrap_or(0);
        let mut kv = KvCacheConfig::for_budget(&made.config, KvDtype::F16, KV_BLOCK_SIZE, 0);
        kv.num_blocks = longest.div_ceil(KV_BLOCK_SIZE) * batch;
        let cache = match KvCache::new(kv, &device) {
            Ok(cache) => cache,
            Err(error) => {
                report::print(&format!("batch {batch}, depth {depth}: skipped, {error}\n"))?;
                continue;
            }
        };
        let mut runner = Runner::new(model, cache, batch, options.max_num_batched_tokens, 0);
        runner.fill_context(batch, depth)?;
        for workload in workloads {
            let row = bench::row(&target, &mut runner, workload, &mut super::Peak::default())?;
            report::print(&output::gpu_line(&row, ceilings))?;
            rows.push(output::row_json(&row, Some(ceilings)));
        }
        model = runner.into_model();
    }
    Ok(json!({
        "model": id,
        "quantization": quantization.to_string(),
        "copy_bytes_per_s": ceilings.copy_bytes_per_s,
        "operations_per_s": ceilings.operations_per_s,
        "rows": rows,
    }))
}

fn skipped(id: &str, quantization: Quantization, error: &anyhow::Error) -> anyhow::Result<Value> {
    report::print(&format!("skipped: {error:#}\n"))?;
    Ok(json!({
        "model": id,
        "quantization": quantization.to_string(),
        "skipped": format!("{error:#}"),
    }))
}

/// Prompts alone, and steps of every batch at every depth.
fn plan() -> Vec<(usize, usize, Vec<Workload>)> {
    let prompt = |tokens| Workload::Prefill { batch: 1, depth: 0, tokens };
    let mut plan = vec![(1, 0, PROMPTS.map(prompt).to_vec())];
    for batch in BATCHES {
        for depth in DEPTHS {
            plan.push((batch, depth, vec![Workload::Decode { batch, depth, tokens: STEPS }]));
        }
    }
    plan
}

fn bench_options(model: SyntheticModel, device: DeviceChoice) -> BenchOptions {
    BenchOptions {
        model: BenchModel::Synthetic(model),
        prompt_tokens: Vec::new(),
        generate: Vec::new(),
        depths: Vec::new(),
        batches: Vec::new(),
        repeats: 5,
        profile: false,
        max_num_batched_tokens: 8192,
        device,
        kv_cache_dtype: KvDtype::F16,
        seed: 0,
        format: report::Format::Table,
    }
}
