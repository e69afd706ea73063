//! Writes weights in the container that the program reads.

use crate::content::Trained;
use crate::guardrail::learned::content::{LENGTH_CLASSES, LEVELS, NUM_HEADS, STRIDE};
use crate::tags;

struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u8) -> Self {
        let mut writer = Self(b"OCGUARD".to_vec());
        writer.0.push(kind);
        writer.u32(1);
        writer
    }

    fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    fn f32(&mut self, value: f32) {
        self.0.extend(value.to_le_bytes());
    }

    fn finish(mut self) -> Vec<u8> {
        let sum = crate::guardrail::learned::weights::fnv1a64(&self.0);
        self.0.extend(sum.to_le_bytes());
        self.0
    }
}

/// Thresholds are zero until `scripts/train-guardrail` has calibrated them.
pub(crate) fn content(trained: &Trained) -> Vec<u8> {
    let mut writer = Writer::new(b'C');
    writer.u32(trained.log2_rows);
    let mut scales = [1.0; STRIDE];
    for head in 0..NUM_HEADS {
        scales[head] = scale(trained.table.iter().map(|row| row[head]));
        writer.f32(scales[head]);
        writer.f32(trained.bias[head]);
        writer.f32(0.0);
        for _ in 0..2 * LENGTH_CLASSES.len() * LEVELS {
            writer.f32(0.0);
        }
    }
    for row in &trained.table {
        for (weight, scale) in row.iter().zip(&scales) {
            writer.0.push(round(*weight, *scale).cast_unsigned());
        }
    }
    writer.finish()
}

/// What one step of an 8-bit weight stands for. The few largest weights are clipped: they would
/// make all others coarse.
fn scale(weights: impl Iterator<Item = f32>) -> f32 {
    let mut sizes: Vec<f32> = weights.map(f32::abs).filter(|size| *size > 0.0).collect();
    sizes.sort_by(f32::total_cmp);
    let largest = sizes.get(sizes.len().saturating_sub(1 + sizes.len() / 5000)).copied();
    largest.unwrap_or(1.0) / 127.0
}

fn round(weight: f32, scale: f32) -> i8 {
    (weight / scale).round().clamp(-127.0, 127.0) as i8
}

/// The least scores of a name, an address and a place. Below half, a find is a guess.
const LEAST_SCORES: [f32; 3] = [0.55, 0.4, 0.5];

pub(crate) fn tagger(trained: &tags::Trained, begin: [f32; 2]) -> Vec<u8> {
    let mut writer = Writer::new(b'T');
    let scale = scale(trained.table.iter().flatten().copied());
    writer.f32(scale);
    for bias in begin {
        writer.f32(bias);
    }
    for threshold in LEAST_SCORES {
        writer.f32(threshold);
    }
    for transition in trained.transitions.as_flattened() {
        writer.f32(*transition);
    }
    writer.u32(trained.lists.len() as u32);
    for key in trained.lists.keys() {
        writer.u32(*key);
    }
    writer.0.extend(trained.lists.values());
    writer.u32(trained.log2_rows);
    for weight in trained.table.iter().flatten() {
        writer.0.push(round(*weight, scale).cast_unsigned());
    }
    writer.finish()
}
