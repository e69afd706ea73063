//! What the sampler reads of logits that stay on the GPU, against the logits themselves.

use candle_core::quantized::GgmlDType;
use outcrop::model::config::Architecture;
use outcrop::model::{
    CausalLm, DistantLogits, KvDtype, LOGITS_BLOCK, Logits, ModelConfig, WeighRow,
};

use super::{config, decoder, gpu, input, kv_cache, tokens};

/// A vocabulary of blocks and a part of one.
const VOCAB_SIZE: usize = 700;

/// As the sampler has it, which `DistantLogits` promises bit for bit: eight sums side by side.
fn weight(block: &[f32], asked: &WeighRow) -> f32 {
    let mut sums = [0.0f32; 8];
    for (at, logit) in block.iter().enumerate() {
        let nats = (logit - asked.max) * asked.inverse_temperature;
        let weight = if nats < -27.7 { 0.0 } else { exp(nats) };
        sums[at % 8] += if weight < asked.least { 0.0 } else { weight };
    }
    sums.into_iter().sum()
}

fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let series = 1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5_040.0));
    let series = 1.0 / 6.0 + r * (1.0 / 24.0 + r * series);
    let series = 1.0 + r * (1.0 + r * (0.5 + r * series));
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    series * f32::from_bits(exponent.wrapping_add(127) << 23)
}

fn assert_is_of(distant: &dyn DistantLogits, whole: &[f32]) {
    let rows: Vec<&[f32]> = whole.chunks(VOCAB_SIZE).collect();
    assert_eq!(distant.num_rows(), rows.len());
    let mut asked = Vec::new();
    let mut blocks = Vec::new();
    for (row, values) in rows.iter().enumerate() {
        let expected: Vec<f32> = values
            .chunks(LOGITS_BLOCK)
            .map(|block| match block.iter().all(|x| *x < f32::INFINITY) {
                true => block.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                false => f32::INFINITY,
            })
            .collect();
        assert_eq!(distant.maxima(row), expected, "row {row}");
        let max = expected.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if max.is_finite() {
            asked.push(WeighRow { row, max, inverse_temperature: 1.0 / 0.6, least: 0.0 });
            asked.push(WeighRow { row, max, inverse_temperature: 1.0, least: 0.05 });
        }
        blocks.extend([(row, 2), (row, 0)]);
    }
    let found = distant.weigh(&asked).unwrap();
    for (asked, found) in asked.iter().zip(found.chunks(VOCAB_SIZE.div_ceil(LOGITS_BLOCK))) {
        let expected: Vec<f32> =
            rows[asked.row].chunks(LOGITS_BLOCK).map(|block| weight(block, asked)).collect();
        assert_eq!(found, expected, "weights of {asked:?}");
    }
    let found = distant.blocks(&blocks).unwrap();
    for ((row, block), found) in blocks.iter().zip(found.chunks(LOGITS_BLOCK)) {
        let expected = rows[*row].chunks(LOGITS_BLOCK).nth(*block).unwrap();
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&found[..expected.len()]), bits(expected), "block {block} of row {row}");
        assert!(found[expected.len()..].iter().all(|x| *x == f32::NEG_INFINITY));
    }
}

fn assert_reads(logits: Logits) {
    let whole = logits.as_distant().unwrap().rows(0..logits.num_rows()).unwrap();
    assert_is_of(logits.as_distant().unwrap(), &whole);
    assert_eq!(logits.fetched().unwrap().row(0).len(), VOCAB_SIZE);
}

/// Of a prompt, of steps that are launched, captured and replayed, and of rows of NaN among them.
#[test]
fn maxima_weights_and_blocks_are_those_of_the_rows() {
    let Some((device, _turn)) = gpu() else { return };
    let config = ModelConfig { vocab_size: VOCAB_SIZE, ..config(Architecture::Llama) };
    let mut decoder = decoder(&config, GgmlDType::Q8_0, &device, Some(13));
    let mut cache = kv_cache(&config, KvDtype::F16, &device);
    let prompt = tokens(5, 9);
    let mut forward =
        |parts: &[(usize, &[u32], usize)]| decoder.forward(&input(parts), &mut cache).unwrap();
    let first = forward(&[(0, &prompt, 0), (1, &[13], 0), (2, &prompt, 0)]);
    let kept = first.as_distant().unwrap().maxima(0).to_vec();
    assert_reads(first);
    let mut last = None;
    for at in 9..13 {
        let parts = [(0, &[5][..], at), (1, &[6][..], at - 8), (2, &[7][..], at)];
        assert_reads(forward(&parts));
        last = Some(forward(&parts));
    }
    assert_ne!(last.as_ref().unwrap().as_distant().unwrap().maxima(0), kept);
    // What a later step has written over is refused, not read.
    forward(&[(0, &[5], 13)]);
    let stale = last.unwrap();
    let stale = stale.as_distant().unwrap();
    assert!(stale.blocks(&[(0, 0)]).unwrap_err().to_string().contains("over"));
    assert!(stale.rows(0..1).is_err());
}
