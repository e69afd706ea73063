//! The reference kernels: plain Rust for every CPU, and the definition of what each one computes.

mod quantized;
mod super_blocks;

use crate::attention::{AttendArgs, PARTITION};
use crate::columns::Columns;
use crate::floats::{Element, Floats};
use crate::kv::{KvElements, Stored};
use crate::linear::LinearArgs;
use crate::row::{self, RmsNormArgs, RopeArgs};

pub(crate) use crate::quantized::quantize_rows;
pub(crate) use crate::super_blocks::quantize_super_rows;
pub(crate) use quantized::quantized_linear;
pub(crate) use super_blocks::super_linear;

pub(crate) fn attend(args: &AttendArgs<'_>, scores: &mut [f32], partial: &mut [f32]) {
    match args.keys {
        KvElements::Floats(Floats::F32(keys)) => key_scores(args, keys, scores),
        KvElements::Floats(Floats::F16(keys)) => key_scores(args, keys, scores),
        KvElements::Floats(Floats::Bf16(keys)) => key_scores(args, keys, scores),
        KvElements::Q8_0(keys) => key_scores(args, keys, scores),
    }
    let (weighted, maxima_and_sums) = partial.split_at_mut(args.num_heads * args.shape.head_dim);
    let (maxima, sums) = maxima_and_sums.split_at_mut(args.num_heads);
    let num_positions = args.end - args.start;
    for (head, scores) in scores.chunks_exact_mut(PARTITION).take(args.num_heads).enumerate() {
        let scores = &mut scores[..num_positions];
        let max = scores.iter().fold(f32::NEG_INFINITY, |max, &score| max.max(score));
        maxima[head] = max;
        sums[head] = 0.0;
        for score in scores {
            *score = (*score - max).exp();
            sums[head] += *score;
        }
    }
    match args.values {
        KvElements::Floats(Floats::F32(values)) => weigh_values(args, values, scores, weighted),
        KvElements::Floats(Floats::F16(values)) => weigh_values(args, values, scores, weighted),
        KvElements::Floats(Floats::Bf16(values)) => weigh_values(args, values, scores, weighted),
        KvElements::Q8_0(values) => weigh_values(args, values, scores, weighted),
    }
}

/// `scores[head * PARTITION + position]` = scaled dot product of query and key.
fn key_scores<E: Stored>(args: &AttendArgs<'_>, keys: &[E], scores: &mut [f32]) {
    let head_dim = args.shape.head_dim;
    for (run, first) in args.runs() {
        for (position, key) in run.zip((first..).step_by(head_dim)) {
            for (head, query) in args.queries.chunks_exact(head_dim).enumerate() {
                let products = query.iter().zip(key..).map(|(q, k)| q * E::element(keys, k));
                let dot: f32 = products.sum();
                scores[head * PARTITION + position] = dot * args.scale;
            }
        }
    }
}

fn weigh_values<E: Stored>(
    args: &AttendArgs<'_>,
    values: &[E],
    scores: &[f32],
    weighted: &mut [f32],
) {
    let head_dim = args.shape.head_dim;
    weighted.fill(0.0);
    for (run, first) in args.runs() {
        for (position, value) in run.zip((first..).step_by(head_dim)) {
            for (head, weighted) in weighted.chunks_exact_mut(head_dim).enumerate() {
                let weight = scores[head * PARTITION + position];
                for (sum, value) in weighted.iter_mut().zip(value..) {
                    *sum += weight * E::element(values, value);
                }
            }
        }
    }
}

pub(crate) fn linear(args: &LinearArgs<'_>, out: &mut Columns<'_>) {
    match args.weights {
        Floats::F32(weights) => linear_of(args, weights, out),
        Floats::F16(weights) => linear_of(args, weights, out),
        Floats::Bf16(weights) => linear_of(args, weights, out),
    }
}

fn linear_of<E: Element>(args: &LinearArgs<'_>, weights: &[E], out: &mut Columns<'_>) {
    for row_id in 0..out.num_rows() {
        let row = &args.rows[row_id * args.k..(row_id + 1) * args.k];
        for (weight_id, out) in out.row(row_id).iter_mut().enumerate() {
            let weight = &weights[weight_id * args.k..(weight_id + 1) * args.k];
            *out = weight.iter().zip(row).map(|(w, x)| w.to_f32() * x).sum();
        }
    }
}

pub(crate) fn rms_norm(args: &RmsNormArgs<'_>, out: &mut [f32]) {
    row::rms_norm(args, out);
}

pub(crate) fn rope(args: &RopeArgs<'_>, rows: &mut [f32]) {
    row::rope(args, rows);
}

pub(crate) fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    row::silu_mul(gate, up, out);
}
