//! Our kernels against Candle's operations for the same work, alternating in one run, since
//! figures of different runs do not compare:
//!
//!     cargo bench --bench kernels

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{D, DType, Device, Module, Tensor};
use outcrop::ops::{Linear, PagedBatch, PagedSeq, RmsNorm, Weight, paged_attention, silu_mul};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    writeln!(io::stdout(), "{:44} {:>10} {:>10} {:>7}", "operation", "ours", "candle", "ratio")?;
    for (rows, context) in [(1, 256), (1, 4096), (64, 1024), (512, 512)] {
        attention(rows, context)?;
    }
    for (dtype, name) in [(GgmlDType::F32, "f32"), (GgmlDType::BF16, "bf16")] {
        for rows in [1, 8, 256] {
            linear(dtype, name, rows)?;
        }
    }
    for (dtype, name) in [
        (GgmlDType::Q4_0, "q4_0"),
        (GgmlDType::Q4_1, "q4_1"),
        (GgmlDType::Q5_0, "q5_0"),
        (GgmlDType::Q5_1, "q5_1"),
        (GgmlDType::Q8_0, "q8_0"),
        (GgmlDType::Q2K, "q2_k"),
        (GgmlDType::Q3K, "q3_k"),
        (GgmlDType::Q4K, "q4_k"),
        (GgmlDType::Q5K, "q5_k"),
        (GgmlDType::Q6K, "q6_k"),
    ] {
        for rows in [1, 8, 256] {
            quantized_linear(dtype, name, rows)?;
        }
    }
    for rows in [1, 512] {
        norm_and_activation(rows)?;
    }
    Ok(())
}

/// Grouped attention of DeepSeek-R1-Distill-Qwen-7B's shape: 28 heads of 128 over 4 KV heads.
fn attention(rows: usize, context: usize) -> Result<()> {
    const HEADS: usize = 28;
    const KV_HEADS: usize = 4;
    const HEAD_DIM: usize = 128;
    const BLOCK_SIZE: usize = 32;
    let num_blocks = context / BLOCK_SIZE;
    let cache = |dtype| random((num_blocks, KV_HEADS, BLOCK_SIZE, HEAD_DIM))?.to_dtype(dtype);
    let (keys, values) = (cache(DType::F16)?, cache(DType::F16)?);
    let queries = random((rows, HEADS * HEAD_DIM))?;
    let seq = PagedSeq {
        rows: 0..rows,
        context_len: context,
        block_table: (0..num_blocks as u32).collect::<Arc<[u32]>>(),
    };
    let batch = PagedBatch::new(vec![seq], BLOCK_SIZE);
    // What a model with a contiguous f32 cache does. The heads are already repeated.
    let contiguous = || random((HEADS, context, HEAD_DIM));
    let (all_keys, all_values) = (contiguous()?.t()?.contiguous()?, contiguous()?);
    let mask = Tensor::zeros((rows, context), DType::F32, &Device::Cpu)?;
    let by_head = queries.reshape((rows, HEADS, HEAD_DIM))?.transpose(0, 1)?.contiguous()?;
    compare(
        &format!("attention, {rows} rows, context {context}"),
        || paged_attention(&queries, &keys, &values, &batch),
        || {
            let scores = (by_head.matmul(&all_keys)? * 0.088)?.broadcast_add(&mask)?;
            candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&all_values)
        },
    )
}

/// A feed-forward matrix of DeepSeek-R1-Distill-Qwen-1.5B.
fn linear(dtype: GgmlDType, name: &str, rows: usize) -> Result<()> {
    let weight = random((8960, 1536))?;
    let ours = Linear::new(&Weight::new(QTensor::quantize(&weight, dtype)?)?, None)?;
    let transposed = weight.t()?;
    let x = random((rows, 1536))?;
    compare(
        &format!("linear 1536 to 8960, {name}, {rows} rows"),
        || ours.forward(&x),
        || x.matmul(&transposed),
    )
}

fn quantized_linear(dtype: GgmlDType, name: &str, rows: usize) -> Result<()> {
    let floats = random((8960, 1536))?;
    let candle = QMatMul::from_arc(Arc::new(QTensor::quantize(&floats, dtype)?))?;
    let ours = Linear::new(&Weight::new(QTensor::quantize(&floats, dtype)?)?, None)?;
    let x = random((rows, 1536))?;
    compare(
        &format!("linear 1536 to 8960, {name}, {rows} rows"),
        || ours.forward(&x),
        || candle.forward(&x),
    )
}

fn norm_and_activation(rows: usize) -> Result<()> {
    let (x, weight) = (random((rows, 1536))?, random(1536)?);
    let norm = RmsNorm::new(weight.clone(), 1e-6);
    compare(
        &format!("rms norm of 1536, {rows} rows"),
        || norm.forward(&x),
        || candle_nn::ops::rms_norm(&x, &weight, 1e-6),
    )?;
    let (gate, up) = (random((rows, 8960))?, random((rows, 8960))?);
    compare(
        &format!("silu of 8960, {rows} rows"),
        || silu_mul(&gate, &up),
        || candle_nn::ops::silu(&gate)? * &up,
    )
}

fn random(shape: impl Into<candle_core::Shape>) -> candle_core::Result<Tensor> {
    Tensor::randn(0f32, 1f32, shape, &Device::Cpu)
}

/// Prints the medians of alternating runs, a second for each side.
fn compare(
    name: &str,
    ours: impl Fn() -> candle_core::Result<Tensor>,
    candle: impl Fn() -> candle_core::Result<Tensor>,
) -> Result<()> {
    let (mut our_times, mut candle_times) = (Vec::new(), Vec::new());
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) || our_times.len() < 5 {
        our_times.push(timed(&ours)?);
        candle_times.push(timed(&candle)?);
    }
    let (ours, candle) = (median(our_times), median(candle_times));
    let ratio = candle.as_secs_f64() / ours.as_secs_f64();
    writeln!(io::stdout(), "{name:44} {ours:>10.1?} {candle:>10.1?} {ratio:>6.2}x")?;
    Ok(())
}

fn timed(run: &impl Fn() -> candle_core::Result<Tensor>) -> Result<Duration> {
    let started = Instant::now();
    run()?;
    Ok(started.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
