//! The same small models on the CPU and on the GPU, beside each other.

use std::sync::Arc;

use anyhow::Context;
use serde_json::{Value, json};

use crate::limits::KV_BLOCK_SIZE;
use crate::model::{
    CausalLm, Decoder, Device, DeviceChoice, KvCache, KvCacheConfig, KvDtype, ModelConfig,
    ModelInput, SeqInput,
    config::{Architecture, RopeConfig, RopeLayout, RopeScaling},
    synthetic::Synthetic,
    weights::Quantization,
};

/// Differences of logits, as a share of their length: products of 16-bit numbers with 8 bits of
/// precision are off by about 0.5 %, and the CPU rounds activations to 8 bits as well.
const LOGITS_ERROR_MAX: f64 = 0.03;
/// Texts that are the same to the last token.
const SAME_TEXTS_MIN: f64 = 0.95;
const TEXTS: usize = 100;
const TEXT_TOKENS: usize = 64;
const PROMPT_TOKENS: usize = 24;
/// Sequences of a step.
const SIDE_BY_SIDE: usize = 20;

#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) found: f64,
    limit: Limit,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Check {
    /// What is not a number has not passed.
    pub(super) fn has_passed(&self) -> bool {
        match self.limit {
            Limit::AtMost(limit) => self.found <= limit,
            Limit::AtLeast(limit) => self.found >= limit,
        }
    }

    pub(super) fn allowed(&self) -> String {
        match self.limit {
            Limit::AtMost(limit) => format!("<= {limit}"),
            Limit::AtLeast(limit) => format!(">= {limit}"),
        }
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "check": self.name,
            "found": self.found,
            "allowed": self.allowed(),
            "passed": self.has_passed(),
        })
    }
}

/// `tell` is told of each as it comes.
pub(super) fn checks(
    device: DeviceChoice,
    tell: &dyn Fn(&Check) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<Check>> {
    let mut checks = Vec::new();
    for architecture in [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3] {
        for quantization in [Quantization::F16, Quantization::Bf16, Quantization::Q4KM] {
            let config = config(architecture);
            let name = format!("{}, {quantization}", architecture.name());
            let cpu = Model::new(&config, quantization, Device::Cpu)?;
            let gpu = Model::new(&config, quantization, Device::open(device)?)?;
            let mut note = |what: &str, found: f64, limit: Limit| {
                let check = Check { name: format!("{name}: {what}"), found, limit };
                tell(&check)?;
                checks.push(check);
                anyhow::Ok(())
            };
            compare(cpu, gpu, &mut note).with_context(|| format!("checking {name}"))?;
        }
    }
    Ok(checks)
}

/// Heads and groups as the models that people run have them, and little else.
fn config(architecture: Architecture) -> ModelConfig {
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

struct Model {
    decoder: Decoder,
    kv_cache: KvCache,
    blocks_per_seq: usize,
}

impl Model {
    fn new(
        config: &ModelConfig,
        quantization: Quantization,
        device: Device,
    ) -> anyhow::Result<Self> {
        let synthetic = Synthetic::new(config.clone(), quantization, 1)?;
        let mut tensors = synthetic.tensor_map(&device, &|_, _| {})?;
        let decoder = Decoder::new(config.clone(), &mut tensors)?;
        let blocks_per_seq = LONGEST.div_ceil(KV_BLOCK_SIZE);
        let mut kv = KvCacheConfig::for_budget(config, KvDtype::F16, KV_BLOCK_SIZE, 0);
        kv.num_blocks = blocks_per_seq * SIDE_BY_SIDE;
        Ok(Self { decoder, kv_cache: KvCache::new(kv, &device)?, blocks_per_seq })
    }

    /// Logits of all rows of `parts`: a sequence's number, its tokens, how many came before.
    fn logits(&mut self, parts: &[(usize, &[u32], usize)]) -> anyhow::Result<Vec<Vec<f32>>> {
        let mut input = ModelInput::default();
        for &(seq, token_ids, num_computed) in parts {
            let first = input.num_rows();
            let context_len = num_computed + token_ids.len();
            input.token_ids.extend(token_ids);
            input.positions.extend(num_computed as u32..context_len as u32);
            let blocks = seq * self.blocks_per_seq..(seq + 1) * self.blocks_per_seq;
            let block_table: Arc<[u32]> = blocks.map(|block| block as u32).collect();
            let rows = first..input.num_rows();
            let num_logits = token_ids.len();
            input.seqs.push(SeqInput { rows, context_len, block_table, num_logits });
        }
        let logits = self.decoder.forward(&input, &mut self.kv_cache)?.fetched()?;
        Ok((0..logits.num_rows()).map(|row| logits.row(row).to_vec()).collect())
    }

    /// The likeliest tokens behind each prompt, all prompts side by side.
    fn texts(&mut self, prompts: &[Vec<u32>]) -> anyhow::Result<Vec<Vec<u32>>> {
        let mut texts: Vec<Vec<u32>> = prompts.to_vec();
        for _ in 0..TEXT_TOKENS {
            let is_first = texts[0].len() == PROMPT_TOKENS;
            let starts = texts.iter().map(|text| if is_first { 0 } else { text.len() - 1 });
            let parts: Vec<_> = starts
                .zip(&texts)
                .enumerate()
                .map(|(seq, (start, text))| (seq, &text[start..], start))
                .collect();
            let logits = self.logits(&parts)?;
            let rows_each = logits.len() / texts.len();
            for (seq, text) in texts.iter_mut().enumerate() {
                text.push(likeliest(&logits[(seq + 1) * rows_each - 1]));
            }
        }
        Ok(texts)
    }
}

const LONGEST: usize = 320;

/// What is compared, how far off it is, and how far it may be.
type Note<'a> = &'a mut dyn FnMut(&str, f64, Limit) -> anyhow::Result<()>;

fn compare(mut cpu: Model, mut gpu: Model, note: Note<'_>) -> anyhow::Result<()> {
    let prompt = tokens(0, LONGEST);
    let most = Limit::AtMost(LOGITS_ERROR_MAX);
    let expected = cpu.logits(&[(0, &prompt, 0)])?;
    let found = gpu.logits(&[(0, &prompt, 0)])?;
    note("a prompt", largest_error(&found, &expected), most)?;

    // The same in uneven chunks, among them single steps, which are captured and replayed.
    let mut chunked = Vec::new();
    for chunk in [0..100, 100..103, 103..135, 135..136, 136..137, 137..138, 138..LONGEST] {
        chunked.extend(gpu.logits(&[(1, &prompt[chunk.clone()], chunk.start)])?);
    }
    note("in chunks and steps", largest_error(&chunked, &expected), most)?;

    let prompts: Vec<Vec<u32>> = (0..5).map(|seed| tokens(seed, 20 + 30 * seed)).collect();
    let parts: Vec<_> =
        prompts.iter().enumerate().map(|(seq, prompt)| (seq, prompt.as_slice(), 0)).collect();
    let together = gpu.logits(&parts)?;
    let mut alone = Vec::new();
    for part in &parts {
        alone.extend(gpu.logits(&[*part])?);
    }
    note("side by side as alone", largest_error(&together, &alone), most)?;

    let mut same = 0;
    let prompts: Vec<Vec<u32>> = (0..TEXTS).map(|seed| tokens(seed, PROMPT_TOKENS)).collect();
    for prompts in prompts.chunks(SIDE_BY_SIDE) {
        let (found, expected) = (gpu.texts(prompts)?, cpu.texts(prompts)?);
        same += found.iter().zip(expected).filter(|(found, expected)| *found == expected).count();
    }
    let share = same as f64 / TEXTS as f64;
    note("texts of 64 tokens that are the same", share, Limit::AtLeast(SAME_TEXTS_MIN))?;
    Ok(())
}

/// Of any row, the length of the difference as a share of the length.
fn largest_error(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f64 {
    let error = |(found, expected): (&Vec<f32>, &Vec<f32>)| {
        let pairs = || found.iter().zip(expected).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let difference: f64 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
        let length: f64 = pairs().map(|(_, b)| b * b).sum();
        (difference / length).sqrt()
    };
    // `f64::max` would pass over what is not a number.
    let larger = |a: f64, b: f64| if a.is_nan() || a > b { a } else { b };
    found.iter().zip(expected).map(error).fold(0.0, |a, b| larger(b, a))
}

fn likeliest(logits: &[f32]) -> u32 {
    let by_logit = |a: &(usize, &f32), b: &(usize, &f32)| a.1.total_cmp(b.1).then(b.0.cmp(&a.0));
    logits.iter().enumerate().max_by(by_logit).map_or(0, |(id, _)| id as u32)
}

fn tokens(seed: usize, len: usize) -> Vec<u32> {
    (0..len).map(|i| ((i * i * 31 + i * (2 * seed + 1) + 7 * seed) % 512) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_number_has_not_passed() {
        let check = |found, limit| Check { name: String::new(), found, limit }.has_passed();
        assert!(check(0.5, Limit::AtMost(0.5)) && check(0.5, Limit::AtLeast(0.5)));
        assert!(!check(0.6, Limit::AtMost(0.5)) && !check(0.4, Limit::AtLeast(0.5)));
        assert!(!check(f64::NAN, Limit::AtMost(0.5)) && !check(f64::NAN, Limit::AtLeast(0.5)));
        let nan = [vec![f32::NAN], vec![1.0]];
        assert!(largest_error(&nan, &[vec![1.0], vec![1.0]]).is_nan());
        assert_eq!(largest_error(&[vec![1.5], vec![1.0]], &[vec![1.0], vec![2.0]]), 0.5);
    }
}
