//! `outcrop gpu-check`: whether a GPU computes what the CPU computes, and then how fast.
//!
//! It needs neither network nor files: models are made up, small ones to compare with the CPU, and
//! ones of the exact shapes that people run to measure. A checkpoint that is there can be compared
//! as well.

mod check;
mod checkpoint;
mod correctness;
mod pair;
mod tolerance;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use crate::cli::{bench, load::ModelSource, models, report};
use crate::hub::{self, Hub};
use crate::limits::KV_BLOCK_SIZE;
use crate::model::{
    CausalLm, Decoder, Device, DeviceChoice, KvCache, KvCacheConfig, KvDtype, ModelConfig,
    config::Architecture, synthetic::Synthetic, weights::Quantization,
};
use crate::ops::Ceilings;

use self::check::Check;
use super::runner::{Runner, Workload};
use super::{Target, output, synthesize};

#[derive(Debug)]
pub(in crate::cli) struct GpuCheckOptions {
    pub device: DeviceChoice,
    /// A checkpoint that is compared, beside models that are made up.
    pub model: Option<ModelSource>,
    /// Catalogue ids of the shapes to measure; none only compares.
    pub shapes: Vec<String>,
    /// Texts that are compared for each model; `None`: as many as suits `quick`.
    pub num_prompts: Option<usize>,
    /// Few texts, and a small shape in place of `shapes`: tries the check, and measures nothing.
    pub quick: bool,
    /// Where the figures go as JSON.
    pub json: Option<PathBuf>,
}

/// The shapes that are measured by default.
pub(in crate::cli) const SHAPES: &str = "deepseek-r1-distill-qwen-1.5b,deepseek-r1-distill-qwen-7b,\
                                         deepseek-r1-distill-llama-8b,deepseek-r1-distill-qwen-14b";

const QUANTIZATIONS: [Quantization; 2] = [Quantization::Bf16, Quantization::Q4KM];

/// How much is compared.
#[derive(Debug, Clone, Copy)]
struct Texts {
    architectures: &'static [Architecture],
    /// Where a made-up prompt is cut into chunks and steps; it ends at the last.
    chunks: &'static [usize],
    /// Texts that are written, each of so many tokens, and so many in a step.
    num: usize,
    tokens: usize,
    side_by_side: usize,
}

impl Texts {
    const FULL: Self = Self {
        architectures: &[Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3],
        chunks: &[0, 100, 103, 135, 136, 137, 138, 320],
        num: 100,
        tokens: 64,
        side_by_side: 20,
    };
    const QUICK: Self = Self {
        architectures: &[Architecture::Qwen2],
        chunks: &[0, 34, 37, 38, 39, 40],
        num: 4,
        tokens: 4,
        side_by_side: 4,
    };
}

/// What is measured of a shape.
#[derive(Debug)]
struct Plan {
    prompts: &'static [usize],
    batches: &'static [usize],
    depths: &'static [usize],
    steps: usize,
    repeats: usize,
    /// As a prompt is read alone, and not beside steps that wait for it.
    max_num_batched_tokens: usize,
}

impl Plan {
    const FULL: Self = Self {
        prompts: &[512, 1024, 2048, 4096, 8192],
        batches: &[1, 8, 32, 128],
        depths: &[0, 2048, 8192],
        steps: 64,
        repeats: 5,
        max_num_batched_tokens: 8192,
    };
    const QUICK: Self = Self {
        prompts: &[8, 20],
        batches: &[1, 3],
        depths: &[0, 10],
        steps: 3,
        repeats: 2,
        max_num_batched_tokens: 16,
    };

    /// Prompts alone, and steps of every batch at every depth.
    fn measurements(&self) -> Vec<(usize, usize, Vec<Workload>)> {
        let prompt = |&tokens: &usize| Workload::Prefill { batch: 1, depth: 0, tokens };
        let mut all = vec![(1, 0, self.prompts.iter().map(prompt).collect())];
        for &batch in self.batches {
            for &depth in self.depths {
                let workload = Workload::Decode { batch, depth, tokens: self.steps };
                all.push((batch, depth, vec![workload]));
            }
        }
        all
    }
}

pub(in crate::cli) fn run(options: &GpuCheckOptions, hub: &Hub) -> anyhow::Result<()> {
    ensure!(options.device != DeviceChoice::Cpu, "gpu-check needs a GPU: --device cuda");
    let device = Device::open(options.device).context("gpu-check needs a GPU")?;
    report::print(&format!("{}\n", device.name()))?;
    let checks = checks(options, hub)?;
    let has_passed = checks.iter().all(Check::has_passed);
    let mut measured = Vec::new();
    if has_passed {
        let plan = if options.quick { Plan::QUICK } else { Plan::FULL };
        for (id, config) in shapes(options)? {
            for quantization in QUANTIZATIONS {
                let synthetic = Synthetic::new(config.clone(), quantization, 0)?;
                measured.push(measure(&id, quantization, &synthetic, options.device, &plan)?);
            }
        }
    }
    let value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "device": device.name(),
        "quick": options.quick,
        "texts": { "of_each_model": texts(options).num, "tokens": texts(options).tokens },
        "checks": checks.iter().map(Check::json).collect::<Vec<_>>(),
        "measured": measured,
    });
    if let Some(path) = &options.json {
        fs::write(path, format!("{value:#}\n"))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if !has_passed {
        bail!("the GPU does not compute what the CPU computes; nothing was measured");
    }
    Ok(())
}

fn texts(options: &GpuCheckOptions) -> Texts {
    let texts = if options.quick { Texts::QUICK } else { Texts::FULL };
    let num = options.num_prompts.unwrap_or(texts.num);
    Texts { num, side_by_side: texts.side_by_side.min(num), ..texts }
}

/// All comparisons, printed as they come.
fn checks(options: &GpuCheckOptions, hub: &Hub) -> anyhow::Result<Vec<Check>> {
    let texts = texts(options);
    let mut checks = Vec::new();
    let mut tell = |check: Check| {
        let verdict = if check.has_passed() { "passed" } else { "FAILED" };
        let (name, found, allowed) = (&check.name, check.found, check.allowed());
        report::print(&format!("{verdict}  {name}: {found:.5} ({allowed})\n"))?;
        checks.push(check);
        Ok(())
    };
    correctness::checks(options.device, texts, &mut tell)?;
    if let Some(model) = &options.model {
        let (path, name) = (model.locate(hub)?, model.name());
        checkpoint::checks(&path, &name, options.device, texts, &mut tell)
            .with_context(|| format!("checking {name}"))?;
    }
    Ok(checks)
}

/// Names and configurations of what is measured.
fn shapes(options: &GpuCheckOptions) -> anyhow::Result<Vec<(String, ModelConfig)>> {
    if options.quick {
        let small = options.shapes.first().map(|_| "a small shape".to_owned());
        let config = correctness::config(Architecture::Qwen2);
        return Ok(small.map(|name| (name, config)).into_iter().collect());
    }
    let shape = |id: &String| {
        let model = hub::find(id).map_err(anyhow::Error::from)?;
        Ok((id.clone(), models::config_of(model)?))
    };
    options.shapes.iter().map(shape).collect()
}

/// All figures of one shape, printed as they come.
fn measure(
    id: &str,
    quantization: Quantization,
    synthetic: &Synthetic,
    choice: DeviceChoice,
    plan: &Plan,
) -> anyhow::Result<Value> {
    let device = Device::open(choice)?;
    let ceilings = device.ceilings()?.context("a GPU has ceilings")?;
    report::print(&format!(
        "\n{id}, {quantization}; copying moves {:.0} GB/s, products make {:.0} TFLOP/s\n",
        ceilings.copy_bytes_per_s / 1e9,
        ceilings.operations_per_s / 1e12
    ))?;
    let mut value = json!({
        "model": id,
        "quantization": quantization.to_string(),
        "copy_bytes_per_s": ceilings.copy_bytes_per_s,
        "operations_per_s": ceilings.operations_per_s,
    });
    let mut made = match synthesize(id, quantization, synthetic, &device) {
        Ok(made) => made,
        Err(error) => {
            report::print(&format!("skipped: {error:#}\n"))?;
            value["skipped"] = format!("{error:#}").into();
            return Ok(value);
        }
    };
    let read_bytes = made.tensors.num_bytes() as u64 - bench::unread_bytes(&made);
    value["weight_bytes"] = made.tensors.num_bytes().into();
    let decoder = Decoder::new(made.config.clone(), &mut made.tensors)?;
    let target = Target {
        repeats: plan.repeats,
        profile: false,
        config: &made.config,
        read_bytes,
        ceilings: Some(ceilings),
    };
    value["rows"] = rows(Box::new(decoder), (&device, ceilings), &target, plan)?.into();
    Ok(value)
}

fn rows(
    mut model: Box<dyn CausalLm>,
    (device, ceilings): (&Device, Ceilings),
    target: &Target<'_>,
    plan: &Plan,
) -> anyhow::Result<Vec<Value>> {
    let mut rows = Vec::new();
    for (batch, depth, workloads) in plan.measurements() {
        let longest = workloads.iter().map(|w| w.depth() + w.tokens()).max().unwrap_or(0);
        let mut kv = KvCacheConfig::for_budget(target.config, KvDtype::F16, KV_BLOCK_SIZE, 0);
        kv.num_blocks = longest.div_ceil(KV_BLOCK_SIZE) * batch;
        let cache = match KvCache::new(kv, device) {
            Ok(cache) => cache,
            Err(error) => {
                report::print(&format!("batch {batch}, depth {depth}: skipped, {error}\n"))?;
                let why = error.to_string();
                rows.push(json!({ "batch": batch, "depth": depth, "skipped": why }));
                continue;
            }
        };
        let mut runner = Runner::new(model, cache, batch, plan.max_num_batched_tokens, 0);
        runner.fill_context(batch, depth)?;
        for workload in workloads {
            let row = bench::row(target, &mut runner, workload, &mut super::Peak::default())?;
            report::print(&output::gpu_line(&row, ceilings))?;
            rows.push(output::row_json(&row, Some(ceilings)));
        }
        model = runner.into_model();
    }
    Ok(rows)
}
