//! A model on one device, driven through prompts and steps, and what two of them make compared.

use std::sync::Arc;

use crate::cli::bench::gpu_check::Texts;
use crate::limits::KV_BLOCK_SIZE;
use crate::model::{
    CausalLm, Decoder, Device, KvCache, KvCacheConfig, KvDtype, ModelConfig, ModelInput, SeqInput,
    weights::TensorMap,
};

/// Tokens of a sequence at most.
pub(super) const LONGEST: usize = 320;

pub(super) struct Model {
    decoder: Decoder,
    kv_cache: KvCache,
    blocks_per_seq: usize,
}

/// A sequence's number, its tokens, how many came before, and of how many rows logits are wanted.
pub(super) type Part<'a> = (usize, &'a [u32], usize, usize);

impl Model {
    /// With room for `num_seqs` sequences.
    pub(super) fn new(
        config: &ModelConfig,
        mut tensors: TensorMap,
        device: &Device,
        num_seqs: usize,
    ) -> anyhow::Result<Self> {
        let decoder = Decoder::new(config.clone(), &mut tensors)?;
        let blocks_per_seq = LONGEST.div_ceil(KV_BLOCK_SIZE);
        let mut kv = KvCacheConfig::for_budget(config, KvDtype::F16, KV_BLOCK_SIZE, 0);
        kv.num_blocks = blocks_per_seq * num_seqs;
        Ok(Self { decoder, kv_cache: KvCache::new(kv, device)?, blocks_per_seq })
    }

    /// Logits of the rows that are wanted, one after the other.
    pub(super) fn logits(&mut self, parts: &[Part<'_>]) -> anyhow::Result<Vec<Vec<f32>>> {
        let mut input = ModelInput::default();
        for &(seq, token_ids, num_computed, num_logits) in parts {
            let first = input.num_rows();
            let context_len = num_computed + token_ids.len();
            input.token_ids.extend(token_ids);
            input.positions.extend(num_computed as u32..context_len as u32);
            let blocks = seq * self.blocks_per_seq..(seq + 1) * self.blocks_per_seq;
            let block_table: Arc<[u32]> = blocks.map(|block| block as u32).collect();
            let rows = first..input.num_rows();
            input.seqs.push(SeqInput { rows, context_len, block_table, num_logits });
        }
        let logits = self.decoder.forward(&input, &mut self.kv_cache)?.fetched()?;
        Ok((0..logits.num_rows()).map(|row| logits.row(row).to_vec()).collect())
    }

    /// Logits of every row of a prompt that nothing comes before.
    pub(super) fn prompt_logits(&mut self, prompt: &[u32]) -> anyhow::Result<Vec<Vec<f32>>> {
        self.logits(&[(0, prompt, 0, prompt.len())])
    }

    /// Each prompt with the likeliest tokens behind it, all prompts side by side.
    fn texts(&mut self, prompts: &[Vec<u32>], num_tokens: usize) -> anyhow::Result<Vec<Vec<u32>>> {
        let mut texts: Vec<Vec<u32>> = prompts.to_vec();
        let mut computed = vec![0; texts.len()];
        for _ in 0..num_tokens {
            let parts: Vec<_> = computed
                .iter()
                .zip(&texts)
                .enumerate()
                .map(|(seq, (start, text))| (seq, &text[*start..], *start, 1))
                .collect();
            let logits = self.logits(&parts)?;
            for ((text, computed), logits) in texts.iter_mut().zip(&mut computed).zip(&logits) {
                *computed = text.len();
                text.push(likeliest(logits));
            }
        }
        Ok(texts)
    }
}

/// The share of prompts behind which both write the same.
pub(super) fn same_texts(
    found: &mut Model,
    expected: &mut Model,
    prompts: &[Vec<u32>],
    texts: Texts,
) -> anyhow::Result<f64> {
    let mut same = 0;
    for prompts in prompts.chunks(texts.side_by_side) {
        let found = found.texts(prompts, texts.tokens)?;
        let expected = expected.texts(prompts, texts.tokens)?;
        same += found.iter().zip(expected).filter(|(found, expected)| *found == expected).count();
    }
    Ok(same as f64 / prompts.len() as f64)
}

/// The share of prompts behind which `found` writes what `expected` finds likeliest, token by
/// token, or as near to it as `tolerance` lets two logits of a row be off. Models that are made up
/// write many tokens that are hardly likelier than the next, so two texts of theirs soon part.
pub(super) fn likeliest_texts(
    (found, expected): (&mut Model, &mut Model),
    prompts: &[Vec<u32>],
    texts: Texts,
    tolerance: f64,
) -> anyhow::Result<f64> {
    let mut num_likeliest = 0;
    for prompts in prompts.chunks(texts.side_by_side) {
        for (prompt, text) in prompts.iter().zip(found.texts(prompts, texts.tokens)?) {
            let rows = expected.prompt_logits(&text[..text.len() - 1])?;
            let written = rows[prompt.len() - 1..].iter().zip(&text[prompt.len()..]);
            num_likeliest += usize::from(
                written
                    .into_iter()
                    .all(|(row, &token)| behind_likeliest(row, token) <= 2.0 * tolerance),
            );
        }
    }
    Ok(num_likeliest as f64 / prompts.len() as f64)
}

/// How far a token's logit is below the largest, in units of the row's typical logit.
fn behind_likeliest(row: &[f32], token: u32) -> f64 {
    let squares: f64 = row.iter().map(|&logit| f64::from(logit) * f64::from(logit)).sum();
    let typical = (squares / row.len() as f64).sqrt();
    f64::from(row[likeliest(row) as usize] - row[token as usize]) / typical
}

/// Of any row, the length of the difference as a share of the length.
pub(super) fn largest_error(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f64 {
    let error = |(found, expected): (&Vec<f32>, &Vec<f32>)| {
        let pairs = || found.iter().zip(expected).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let difference: f64 = pairs().map(|(a, b)| (a - b) * (a - b)).sum();
        let length: f64 = pairs().map(|(_, b)| b * b).sum();
        (difference / length).sqrt()
    };
    found.iter().zip(expected).map(error).fold(0.0, larger)
}

/// NaN if one of both is, which `f64::max` would pass over.
pub(super) fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || a > b { a } else { b }
}

fn likeliest(logits: &[f32]) -> u32 {
    let by_logit = |a: &(usize, &f32), b: &(usize, &f32)| a.1.total_cmp(b.1).then(b.0.cmp(&a.0));
    logits.iter().enumerate().max_by(by_logit).map_or(0, |(id, _)| id as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_that_of_the_worst_row() {
        let nan = [vec![f32::NAN], vec![1.0]];
        assert!(largest_error(&nan, &[vec![1.0], vec![1.0]]).is_nan());
        assert_eq!(largest_error(&[vec![1.5], vec![1.0]], &[vec![1.0], vec![2.0]]), 0.5);
        assert!(larger(f64::NAN, 1.0).is_nan() && larger(1.0, f64::NAN).is_nan());
    }

    #[test]
    fn a_token_is_behind_the_likeliest_by_what_logits_are() {
        assert_eq!(behind_likeliest(&[3.0, -3.0, 3.0], 1), 2.0);
        assert_eq!(behind_likeliest(&[3.0, -3.0, 3.0], 2), 0.0);
        assert!(behind_likeliest(&[f32::NAN, 1.0], 1).is_nan());
    }

    #[test]
    fn the_likeliest_is_the_first_of_its_equals() {
        assert_eq!(likeliest(&[0.0, 2.0, 1.0, 2.0]), 1);
    }
}
