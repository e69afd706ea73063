//! The same small models on the CPU, as floats, and on the GPU, beside each other.

use std::iter::once;

use anyhow::Context;

use crate::cli::bench::gpu_check::Texts;
use crate::model::{
    Device, DeviceChoice, ModelConfig,
    config::{Architecture, RopeConfig, RopeLayout, RopeScaling},
    synthetic::Synthetic,
    weights::{Quantization, Role},
};

use super::check::{Check, Limit, SAME_TEXTS_MIN};
use super::pair::{Model, larger, largest_error, likeliest_texts};
use super::tolerance::logits_error_max;

const PROMPT_TOKENS: usize = 24;
/// The last of the vocabulary.
const BROKEN: u32 = 511;
/// Prompts of a step that are compared with themselves alone.
const SIDE_BY_SIDE: usize = 5;

/// `tell` is told of each as it comes.
pub(super) fn checks(
    device: DeviceChoice,
    texts: Texts,
    tell: &mut dyn FnMut(Check) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for &architecture in texts.architectures {
        for quantization in [Quantization::F16, Quantization::Bf16, Quantization::Q4KM] {
            let config = config(architecture);
            let name = format!("{}, {quantization}", architecture.name());
            let num_seqs = texts.side_by_side.max(SIDE_BY_SIDE);
            let synthetic = Synthetic::new(config.clone(), quantization, 1)?;
            let gpu = Device::open(device)?;
            let tensors = synthetic.tensor_map(&gpu, &|_, _| {})?;
            let tolerance = logits_error_max(&config, tensors.matrix_types());
            let gpu = Model::new(&config, tensors, &gpu, num_seqs)?;
            let tensors = synthetic.tensor_map(&Device::Cpu, &|_, _| {})?.into_floats()?;
            let cpu = Model::new(&config, tensors, &Device::Cpu, num_seqs)?;
            let mut note = |what: &str, found: f64, limit: Limit| {
                tell(Check { name: format!("{name}: {what}"), found, limit })
            };
            compare((cpu, gpu), tolerance, texts, &mut note)
                .and_then(|()| {
                    let gpu = broken(&synthetic, device)?;
                    note("beside a row of NaN as alone", beside_nan(gpu)?, Limit::AtMost(tolerance))
                })
                .with_context(|| format!("checking {name}"))?;
        }
    }
    Ok(())
}

/// Heads and groups as the models that people run have them, and little else.
pub(super) fn config(architecture: Architecture) -> ModelConfig {
    ModelConfig {
        architecture,
        vocab_size: 512,
        hidden_size: 256,
        intermediate_size: 512,
        num_layers: 2,
        num_attention_heads: if architecture == Architecture::Qwen2 { 7 } else { 8 },
        num_kv_heads: if architecture == Architecture::Qwen2 { 1 } else { 2 },
        head_dim: if architecture == Architecture::Llama { 64 } else { 128 },
        rms_norm_eps: 1e-5,
        rope: RopeConfig {
            theta: 10_000.0,
            layout: match architecture {
                Architecture::Llama => RopeLayout::Adjacent,
                Architecture::Qwen2 | Architecture::Qwen3 => RopeLayout::Halves,
            },
            scaling: RopeScaling::None,
        },
        max_position_embeddings: 1024,
        tie_word_embeddings: false,
        qkv_bias: architecture == Architecture::Qwen2,
        qk_norm: architecture == Architecture::Qwen3,
    }
}

/// What is compared, how far off it is, and how far it may be.
type Note<'a> = &'a mut dyn FnMut(&str, f64, Limit) -> anyhow::Result<()>;

fn compare(
    (mut cpu, mut gpu): (Model, Model),
    tolerance: f64,
    texts: Texts,
    note: Note<'_>,
) -> anyhow::Result<()> {
    let longest = texts.chunks[texts.chunks.len() - 1];
    let prompt = tokens(0, longest);
    let most = Limit::AtMost(tolerance);
    let expected = cpu.prompt_logits(&prompt)?;
    let found = gpu.prompt_logits(&prompt)?;
    note("a prompt", largest_error(&found, &expected), most)?;

    // The same in uneven chunks, among them single steps, which are captured and replayed.
    let mut chunked = Vec::new();
    for chunk in texts.chunks.windows(2) {
        let rows = &prompt[chunk[0]..chunk[1]];
        chunked.extend(gpu.logits(&[(1, rows, chunk[0], rows.len())])?);
    }
    note("in chunks and steps", largest_error(&chunked, &expected), most)?;

    let prompts: Vec<Vec<u32>> =
        (0..SIDE_BY_SIDE).map(|seed| tokens(seed, (1 + seed) * longest / 10)).collect();
    let parts: Vec<_> = prompts
        .iter()
        .enumerate()
        .map(|(seq, prompt)| (seq, prompt.as_slice(), 0, prompt.len()))
        .collect();
    let together = gpu.logits(&parts)?;
    let mut alone = Vec::new();
    for part in &parts {
        alone.extend(gpu.logits(&[*part])?);
    }
    note("side by side as alone", largest_error(&together, &alone), most)?;

    let prompts: Vec<Vec<u32>> = (0..texts.num).map(|seed| tokens(seed, PROMPT_TOKENS)).collect();
    let share = likeliest_texts((&mut gpu, &mut cpu), &prompts, texts, tolerance)?;
    note("texts of likeliest tokens", share, Limit::AtLeast(SAME_TEXTS_MIN))
}

/// On the GPU, with an embedding that is not a number.
fn broken(synthetic: &Synthetic, device: DeviceChoice) -> anyhow::Result<Model> {
    let device = Device::open(device)?;
    let tensors = synthetic.tensor_map_with(&device, &|_, _| {}, &|slot, bytes| {
        if slot.role == Role::Embedding {
            let row_bytes = bytes.len() / slot.shape[0];
            // A float of these bits is NaN in every format, and so is the scale of a block.
            bytes[BROKEN as usize * row_bytes..][..row_bytes].fill(0xff);
        }
    })?;
    Model::new(synthetic.config(), tensors, &device, 3)
}

/// How far two sequences are off, by what they are alone, if one between them is NaN: as prompts,
/// and in steps, of which the last are replayed. Infinite if that one is anything but NaN.
fn beside_nan(mut gpu: Model) -> anyhow::Result<f64> {
    const START: usize = PROMPT_TOKENS - 4;
    let (first, last) = (tokens(0, PROMPT_TOKENS), tokens(1, PROMPT_TOKENS));
    let between = vec![BROKEN; PROMPT_TOKENS];
    let mut worst = 0f64;
    for rows in once(0..START).chain((START..PROMPT_TOKENS).map(|at| at..at + 1)) {
        let [first, between, last] = [(0, &first), (1, &between), (2, &last)]
            .map(|(seq, ids)| (seq, &ids[rows.clone()], rows.start, 1));
        let alone = [gpu.logits(&[first])?, gpu.logits(&[last])?].concat();
        let mut together = gpu.logits(&[first, between, last])?;
        if !together.remove(1).iter().all(|logit| logit.is_nan()) {
            return Ok(f64::INFINITY);
        }
        worst = larger(worst, largest_error(&together, &alone));
    }
    Ok(worst)
}

/// Never [`BROKEN`].
fn tokens(seed: usize, len: usize) -> Vec<u32> {
    let id = |i: usize| (i * i * 31 + i * (2 * seed + 1) + 7 * seed) % BROKEN as usize;
    (0..len).map(|i| id(i) as u32).collect()
}
