//! `outcrop eval`: how well a checkpoint predicts a text, token by token.
//!
//! The text is cut into windows of the context length, and each token of a window is predicted
//! from the true tokens before it. That needs no sampling, so two programs that run the same
//! checkpoint can be compared token by token (`scripts/compare-quality`).

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use indicatif::ProgressBar;
use rayon::prelude::*;
use serde::Serialize;

use crate::chat::{HfFiles, TextAssets, Tokenizer};
use crate::limits::TOKENIZED_TEXT_BYTES_MAX;
use crate::model::checkpoint::{Checkpoint, TextSource};
use crate::model::weights::{LoadOptions, Quantization};
use crate::model::{
    CausalLm, Decoder, Device, DeviceChoice, KvCache, KvCacheConfig, KvDtype, Logits, ModelInput,
    SeqInput,
};

#[derive(Debug, Clone)]
pub(super) struct EvalOptions {
    /// A checkpoint file or directory.
    pub model: PathBuf,
    pub quantize: Option<Quantization>,
    pub device: DeviceChoice,
    pub kv_cache_dtype: KvDtype,
    pub text: PathBuf,
    /// Tokens of a window, its first one included, which is not predicted.
    pub context_len: usize,
    /// Print one JSON object.
    pub json: bool,
    /// Write one line per token: its id, the most probable id, and its log probability, separated
    /// by tabs; `-` twice for the first token of a window.
    pub top1: Option<PathBuf>,
}

/// What the model thought of one token, given those before it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Prediction {
    top1: u32,
    /// Natural logarithm of the probability of the token that came.
    logprob: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    tokens: usize,
    predicted: usize,
    context_len: usize,
    perplexity: f64,
    /// Share of predicted tokens that were the most probable one.
    top1_accuracy: f64,
    tokens_per_second: f64,
}

pub(super) fn run(options: &EvalOptions) -> Result<()> {
    let checkpoint = Checkpoint::open(&options.model)?;
    let limit = checkpoint.config().max_position_embeddings;
    ensure!(
        (2..=limit).contains(&options.context_len),
        "--context must be 2 to {limit} tokens for this model, not {}",
        options.context_len
    );
    let token_ids = token_ids(&checkpoint, &options.text)?;
    let vocab_size = checkpoint.config().vocab_size;
    if let Some(id) = token_ids.iter().find(|&&id| id as usize >= vocab_size) {
        bail!("the tokenizer gave token {id}, but the model has {vocab_size} tokens");
    }
    let (quantize, device) = (options.quantize, &Device::open(options.device)?);
    let mut tensors = checkpoint.load(&LoadOptions { quantize, device, ..LoadOptions::plain() })?;
    let mut model = Decoder::new(checkpoint.config().clone(), &mut tensors)?;
    let started = Instant::now();
    let progress = ProgressBar::new(token_ids.len() as u64);
    let predictions = predict(&mut model, &token_ids, options, &|num| progress.inc(num), device)?;
    progress.finish_and_clear();
    if let Some(path) = &options.top1 {
        write_predictions(path, &token_ids, &predictions)
            .with_context(|| format!("{}", path.display()))?;
    }
    let report = report(&token_ids, &predictions, options.context_len, started.elapsed());
    let mut out = io::stdout().lock();
    if options.json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        writeln!(out, "tokens            {}", report.tokens)?;
        writeln!(out, "predicted         {}", report.predicted)?;
        writeln!(out, "perplexity        {:.4}", report.perplexity)?;
        writeln!(out, "top-1 accuracy    {:.2} %", 100.0 * report.top1_accuracy)?;
        writeln!(out, "tokens/s          {:.1}", report.tokens_per_second)?;
    }
    Ok(())
}

fn token_ids(checkpoint: &Checkpoint, path: &Path) -> Result<Vec<u32>> {
    let file = || path.display().to_string();
    let bytes = fs::metadata(path).with_context(file)?.len();
    let limit = TOKENIZED_TEXT_BYTES_MAX;
    ensure!(bytes <= limit as u64, "{}: the text has {bytes} bytes, the limit is {limit}", file());
    let text = fs::read_to_string(path).with_context(file)?;
    let tokenizer = tokenizer_of(checkpoint)?;
    let mut token_ids: Vec<u32> = tokenizer.bos_id().into_iter().collect();
    token_ids.extend(tokenizer.encode(&text)?);
    ensure!(token_ids.len() >= 2, "{}: the text has fewer than two tokens", file());
    Ok(token_ids)
}

pub(super) fn tokenizer_of(checkpoint: &Checkpoint) -> anyhow::Result<Arc<Tokenizer>> {
    Ok(match checkpoint.text() {
        TextSource::Gguf(metadata) => Arc::new(Tokenizer::from_gguf(metadata)?),
        TextSource::HuggingFace(files) => {
            let files = HfFiles {
                tokenizer_json: &files.tokenizer_json,
                tokenizer_config_json: files.tokenizer_config_json.as_deref(),
                generation_config_json: files.generation_config_json.as_deref(),
                chat_template_jinja: files.chat_template_jinja.as_deref(),
            };
            TextAssets::from_hf(&files)?.tokenizer
        }
    })
}

/// Rows of a step. Their logits, 150,000 floats a row in the largest vocabularies, take 37 MiB.
const STEP_ROWS: usize = 64;
const BLOCK_SIZE: usize = 32;

/// One prediction per token; `None` for the first one of each window.
fn predict(
    model: &mut dyn CausalLm,
    token_ids: &[u32],
    options: &EvalOptions,
    progress: &dyn Fn(u64),
    device: &Device,
) -> Result<Vec<Option<Prediction>>> {
    let num_blocks = options.context_len.div_ceil(BLOCK_SIZE);
    let config = model.config();
    let cache_config = KvCacheConfig {
        num_layers: config.num_layers,
        num_kv_heads: config.num_kv_heads,
        head_dim: config.head_dim,
        dtype: options.kv_cache_dtype,
        block_size: BLOCK_SIZE,
        num_blocks,
    };
    let mut kv_cache = KvCache::new(cache_config, device)?;
    let block_table: Arc<[u32]> = (0..num_blocks as u32).collect();
    let mut predictions = Vec::with_capacity(token_ids.len());
    for window in token_ids.chunks(options.context_len) {
        predictions.push(None);
        // The last token of a window predicts nothing in it.
        let inputs = &window[..window.len() - 1];
        for start in (0..inputs.len()).step_by(STEP_ROWS) {
            let end = inputs.len().min(start + STEP_ROWS);
            let input = ModelInput {
                token_ids: inputs[start..end].to_vec(),
                positions: (start as u32..end as u32).collect(),
                seqs: vec![SeqInput {
                    rows: 0..end - start,
                    context_len: end,
                    block_table: Arc::clone(&block_table),
                    num_logits: end - start,
                }],
            };
            let logits = model.forward(&input, &mut kv_cache)?.fetched()?;
            predictions.extend(judge(&logits, &window[start + 1..end + 1]).into_iter().map(Some));
            progress((end - start) as u64);
        }
    }
    Ok(predictions)
}

/// Compares each row of logits with the token that came.
fn judge(logits: &Logits, targets: &[u32]) -> Vec<Prediction> {
    let judge_row = |(row, &target): (usize, &u32)| {
        let logits = logits.row(row);
        // The lowest id among equals, as an argmax over the vocabulary gives it.
        let mut top1 = 0;
        for (id, &logit) in logits.iter().enumerate() {
            if logit > logits[top1] {
                top1 = id;
            }
        }
        let max = f64::from(logits[top1]);
        let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum();
        let logprob = f64::from(logits[target as usize]) - max - sum.ln();
        Prediction { top1: top1 as u32, logprob }
    };
    targets.par_iter().enumerate().map(|(row, target)| judge_row((row, target))).collect()
}

fn report(
    token_ids: &[u32],
    predictions: &[Option<Prediction>],
    context_len: usize,
    elapsed: Duration,
) -> Report {
    let predicted = predictions.iter().flatten().count();
    let sum: f64 = predictions.iter().flatten().map(|prediction| prediction.logprob).sum();
    let hits = token_ids
        .iter()
        .zip(predictions)
        .filter(|(id, prediction)| prediction.is_some_and(|prediction| prediction.top1 == **id))
        .count();
    Report {
        tokens: token_ids.len(),
        predicted,
        context_len,
        perplexity: (-sum / predicted as f64).exp(),
        top1_accuracy: hits as f64 / predicted as f64,
        tokens_per_second: token_ids.len() as f64 / elapsed.as_secs_f64(),
    }
}

fn write_predictions(
    path: &Path,
    token_ids: &[u32],
    predictions: &[Option<Prediction>],
) -> io::Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    for (id, prediction) in token_ids.iter().zip(predictions) {
        match prediction {
            Some(Prediction { top1, logprob }) => writeln!(file, "{id}\t{top1}\t{logprob:.6}")?,
            None => writeln!(file, "{id}\t-\t-")?,
        }
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(context_len: usize) -> EvalOptions {
        EvalOptions {
            model: PathBuf::new(),
            quantize: None,
            device: DeviceChoice::Cpu,
            kv_cache_dtype: KvDtype::F32,
            text: PathBuf::new(),
            context_len,
            json: false,
            top1: None,
        }
    }

    fn golden_model() -> Decoder {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/model/qwen2.gguf");
        let checkpoint = Checkpoint::open(&path).unwrap();
        let mut tensors = checkpoint.load(&LoadOptions::plain()).unwrap();
        Decoder::new(checkpoint.config().clone(), &mut tensors).unwrap()
    }

    #[test]
    fn a_row_is_judged_by_its_softmax() {
        let logits = Logits::new(vec![0.0, 1.0, 2.0, 5.0, 5.0, 5.0], 3);
        let found = judge(&logits, &[1, 2]);
        let sum = 1f64 + 1f64.exp() + 2f64.exp();
        assert_eq!(found[0].top1, 2);
        assert!((found[0].logprob - (1.0 - sum.ln())).abs() < 1e-12);
        assert_eq!(found[1].top1, 0);
        assert!((found[1].logprob + 3f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn windows_are_predicted_from_their_own_tokens_alone() {
        let token_ids: Vec<u32> = (0..150).map(|i| i * i % 96).collect();
        let mut model = golden_model();
        let found = predict(&mut model, &token_ids, &options(100), &|_| {}, &Device::Cpu).unwrap();
        assert_eq!(found.len(), token_ids.len());
        let firsts: Vec<usize> = (0..150).filter(|&i| found[i].is_none()).collect();
        assert_eq!(firsts, [0, 100]);
        let second =
            predict(&mut model, &token_ids[100..], &options(100), &|_| {}, &Device::Cpu).unwrap();
        assert_eq!(found[100..], second);
    }

    #[test]
    fn a_window_of_one_token_predicts_nothing() {
        let found =
            predict(&mut golden_model(), &[1, 2, 3], &options(2), &|_| {}, &Device::Cpu).unwrap();
        assert!(found[0].is_none() && found[1].is_some() && found[2].is_none());
    }

    #[test]
    fn perplexity_is_the_inverse_of_the_mean_probability() {
        let predictions = [
            None,
            Some(Prediction { top1: 7, logprob: -(2f64.ln()) }),
            Some(Prediction { top1: 9, logprob: -(8f64.ln()) }),
        ];
        let report = report(&[5, 7, 8], &predictions, 3, Duration::from_secs(1));
        assert!((report.perplexity - 4.0).abs() < 1e-12);
        assert_eq!((report.predicted, report.top1_accuracy), (2, 0.5));
    }

    #[test]
    fn the_token_file_has_one_line_per_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let predictions = [None, Some(Prediction { top1: 7, logprob: -0.5 })];
        write_predictions(file.path(), &[5, 6], &predictions).unwrap();
        let written = fs::read_to_string(file.path()).unwrap();
        assert_eq!(written, "5\t-\t-\n6\t7\t-0.500000\n");
    }
}
