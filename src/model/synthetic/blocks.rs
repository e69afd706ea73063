//! Random tensor data, made as quantized blocks without a detour over floats.
//!
//! Elements have a standard deviation near [`STD`] and a mean of zero, as trained weights do, so
//! that activations keep the size that they have in a real model.

use half::f16;
use rayon::prelude::*;

use crate::format::gguf::GgmlType;

const STD: f32 = 0.02;

/// Blocks that share a random stream. Streams are numbered from the tensor's start, so that the
/// data does not depend on how the work was cut into pieces.
const STREAM_BLOCKS: usize = 4096;

/// Bytes of one stream's blocks: pieces given to [`fill`] must begin at a multiple of it.
pub(super) fn stream_bytes(dtype: GgmlType) -> usize {
    STREAM_BLOCKS * dtype.block_bytes()
}

/// What a vector's elements are around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Centre {
    Zero,
    One,
}

/// Fills `out`, which begins at stream `first_stream` of the tensor with this `key`.
pub(super) fn fill(out: &mut [u8], dtype: GgmlType, centre: Centre, key: u64, first_stream: usize) {
    out.par_chunks_mut(stream_bytes(dtype)).enumerate().for_each(|(index, chunk)| {
        let mut random = SplitMix64::new(mix(key ^ mix((first_stream + index) as u64)));
        let (words, rest) = chunk.as_chunks_mut::<8>();
        for word in words {
            *word = random.next().to_le_bytes();
        }
        let last = random.next().to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
        finish(chunk, dtype, centre);
    });
}

/// Turns blocks of random bytes into ones of sane scales. Quants stay as they are: all of their bit
/// patterns are valid, and uniformly distributed.
fn finish(chunk: &mut [u8], dtype: GgmlType, centre: Centre) {
    match (dtype, centre) {
        (GgmlType::F32, Centre::Zero) => each(chunk, |block| float(block, 0.0, STD * UNIFORM)),
        (GgmlType::F32, Centre::One) => each(chunk, |block| float(block, 1.0, 0.1)),
        (GgmlType::F16, _) => each(chunk, |block| half_float(block, 0x2400, 0x83ff)),
        (GgmlType::Bf16, _) => each(chunk, |block| half_float(block, 0x3c80, 0x807f)),
        (GgmlType::Q4_0, _) => each::<18>(chunk, |block| signed_scale(block, STD / rms(16))),
        (GgmlType::Q5_0, _) => each::<22>(chunk, |block| signed_scale(block, STD / rms(32))),
        (GgmlType::Q8_0, _) => each::<34>(chunk, |block| signed_scale(block, STD / rms(256))),
        (GgmlType::Q5_1, _) => {
            each::<24>(chunk, |block| scale_and_min(block, STD / rms(32), -15.5));
        }
        (GgmlType::Q4K, _) => {
            each::<144>(chunk, |block| k_scales(block, STD / (SCALE_RMS * rms(16)), 7.5));
        }
        (GgmlType::Q5K, _) => {
            each::<176>(chunk, |block| k_scales(block, STD / (SCALE_RMS * rms(32)), 15.5));
        }
        (GgmlType::Q6K, _) => each::<210>(chunk, q6_k_scales),
        (GgmlType::Q4_1 | GgmlType::Q2K | GgmlType::Q3K, _) => {
            unreachable!("no quantization yields {}", dtype.name())
        }
    }
}

/// Blocks of a constant size, so that the loop over small ones is vectorized.
fn each<const N: usize>(chunk: &mut [u8], finish: impl Fn(&mut [u8; N])) {
    chunk.as_chunks_mut::<N>().0.iter_mut().for_each(finish);
}

/// Half the width of a uniform distribution over its standard deviation.
const UNIFORM: f32 = 1.732_050_8;

/// Root mean square of a uniform integer in `[0, 64)`, as sub-block scales are here.
const SCALE_RMS: f32 = 36.65;

/// Standard deviation of a uniform choice among `levels` neighbouring integers.
fn rms(levels: u32) -> f32 {
    ((levels * levels - 1) as f32 / 12.0).sqrt()
}

fn float(block: &mut [u8; 4], centre: f32, half_width: f32) {
    let unit = u32::from_le_bytes(*block) as f32 / (u32::MAX as f32) * 2.0 - 1.0;
    *block = (centre + unit * half_width).to_le_bytes();
}

/// Sign and mantissa stay random, the exponent is set so that magnitudes are in `[1/64, 1/32)`.
fn half_float(block: &mut [u8; 2], exponent: u16, keep: u16) {
    *block = (u16::from_le_bytes(*block) & keep | exponent).to_le_bytes();
}

fn put_f16(block: &mut [u8], offset: usize, value: f32) {
    block[offset..offset + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

/// Levels reach from `-n` to `n - 1`; a random sign of the scale takes the mean back to zero.
fn signed_scale(block: &mut [u8], scale: f32) {
    let sign = if block[0] & 1 == 0 { 1.0 } else { -1.0 };
    put_f16(block, 0, sign * scale);
}

fn scale_and_min(block: &mut [u8], scale: f32, min_level: f32) {
    put_f16(block, 0, scale);
    put_f16(block, 2, scale * min_level);
}

/// Elements of Q4_K and Q5_K are `d * scale * q - dmin * min`, with 8 scales and 8 mins of 6 bits
/// in the 12 bytes after `d` and `dmin`: bytes 0 to 3 hold the first four scales and, in the upper
/// two bits, the top of the last four; bytes 4 to 7 the same of the mins; bytes 8 to 11 the lower
/// four bits of the last four, scale and min in a byte. Here each min equals its scale.
fn k_scales(block: &mut [u8], scale: f32, centre: f32) {
    put_f16(block, 0, scale);
    put_f16(block, 2, scale * centre);
    for i in 4..8 {
        block[4 + i] = block[i];
        block[8 + i] = (block[8 + i] & 0xf) * 0x11;
    }
}

/// 128 and 64 bytes of quants, then 16 signed scales and `d`.
fn q6_k_scales(block: &mut [u8; 210]) {
    for scale in &mut block[192..208] {
        // Seven bits with a sign, in [-64, 64): as large as the other types' scales.
        *scale = ((*scale as i8) << 1 >> 1) as u8;
    }
    put_f16(block, 208, STD / (SCALE_RMS * rms(64)));
}

/// <https://prng.di.unimi.it/splitmix64.c>: one addition and one mix for eight bytes.
struct SplitMix64(u64);

impl SplitMix64 {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A tensor's key: FNV-1a of its name, mixed with the seed.
pub(super) fn tensor_key(seed: u64, name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(hash ^ mix(seed))
}

#[cfg(test)]
mod tests {
    use crate::ops::Device;

    use super::*;
    use crate::model::weights::weight_from_bytes;

    fn values(dtype: GgmlType, centre: Centre) -> Vec<f32> {
        let num_elements = 64 * 1024;
        let mut data = vec![0; dtype.data_bytes(num_elements).unwrap() as usize];
        fill(&mut data, dtype, centre, 7, 0);
        let weight = weight_from_bytes(&data, dtype, &[256, 256], &Device::Cpu).unwrap();
        let floats = weight.dequantize().unwrap();
        floats.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn mean_and_std(values: &[f32]) -> (f64, f64) {
        let count = values.len() as f64;
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
        let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
        (mean, variance.sqrt())
    }

    #[test]
    fn matrices_look_like_weights() {
        use GgmlType::*;
        for dtype in [F32, F16, Bf16, Q4_0, Q5_0, Q5_1, Q8_0, Q4K, Q5K, Q6K] {
            let (mean, std) = mean_and_std(&values(dtype, Centre::Zero));
            assert!(mean.abs() < 0.001, "{dtype:?}: mean {mean}");
            assert!((0.016..0.026).contains(&std), "{dtype:?}: standard deviation {std}");
        }
    }

    #[test]
    fn norms_are_near_one() {
        let values = values(GgmlType::F32, Centre::One);
        assert!(values.iter().all(|x| (0.9..=1.1).contains(x)));
        assert!((mean_and_std(&values).0 - 1.0).abs() < 0.001);
    }

    #[test]
    fn data_does_not_depend_on_the_pieces() {
        let dtype = GgmlType::Q4_0;
        let stream = stream_bytes(dtype);
        let mut whole = vec![0; 3 * stream - dtype.block_bytes()];
        fill(&mut whole, dtype, Centre::Zero, 1, 0);
        let mut pieces = vec![0; whole.len()];
        let (first, rest) = pieces.split_at_mut(stream);
        fill(first, dtype, Centre::Zero, 1, 0);
        fill(rest, dtype, Centre::Zero, 1, 1);
        assert!(pieces == whole);
        fill(&mut pieces, dtype, Centre::Zero, 2, 0);
        assert!(pieces != whole);
    }
}
