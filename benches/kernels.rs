//! Our kernels against Candle's operations for the same work, alternating in one run, since
//! figures of different runs do not compare; and against what the machine could do at all:
//!
//!     cargo bench --bench kernels [-- WORD...]
//!
//! With words, only operations whose names have one of them.

use std::error::Error;
use std::io::{self, Write};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{D, DType, Device, Module, Tensor};
use kernels::{
    BLOCK_LEN, BlockFormat, Columns, KernelTable, PackedFormat, QuantizedLinearArgs, RowBlock,
    SUPER_LEN, SuperFormat, SuperLinearArgs, SuperRow,
};
use outcrop::ops::{
    Linear, PagedBatch, PagedSeq, RmsNorm, Weight, instruction_set, num_threads, paged_attention,
    silu_mul,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const FORMATS: [(GgmlDType, PackedFormat); 10] = [
    (GgmlDType::Q4_0, PackedFormat::Blocks(BlockFormat::Q4_0)),
    (GgmlDType::Q4_1, PackedFormat::Blocks(BlockFormat::Q4_1)),
    (GgmlDType::Q5_0, PackedFormat::Blocks(BlockFormat::Q5_0)),
    (GgmlDType::Q5_1, PackedFormat::Blocks(BlockFormat::Q5_1)),
    (GgmlDType::Q8_0, PackedFormat::Blocks(BlockFormat::Q8_0)),
    (GgmlDType::Q2K, PackedFormat::Supers(SuperFormat::Q2K)),
    (GgmlDType::Q3K, PackedFormat::Supers(SuperFormat::Q3K)),
    (GgmlDType::Q4K, PackedFormat::Supers(SuperFormat::Q4K)),
    (GgmlDType::Q5K, PackedFormat::Supers(SuperFormat::Q5K)),
    (GgmlDType::Q6K, PackedFormat::Supers(SuperFormat::Q6K)),
];

/// A feed-forward matrix of DeepSeek-R1-Distill-Qwen-1.5B.
const N: usize = 8960;
const K: usize = 1536;

fn main() -> Result<()> {
    let words = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let bench = Bench { words, bandwidth: bandwidth(), macs: macs() };
    writeln!(
        io::stdout(),
        "{} kernels, {} threads: {:.1} GB/s, {:.0} GMAC/s with bytes\n\n{:36} {:>10} {:>10} {:>7} \
         {:>8} {:>10} {:>8}",
        instruction_set(),
        num_threads(),
        bench.bandwidth / 1e9,
        bench.macs / 1e9,
        "operation",
        "ours",
        "candle",
        "ratio",
        "scalar",
        "of memory",
        "of MACs",
    )?;
    for (rows, context) in [(1, 256), (1, 4096), (64, 1024), (512, 512)] {
        attention(&bench, rows, context)?;
    }
    for dtype in [GgmlDType::F32, GgmlDType::BF16] {
        for rows in [1, 8, 256] {
            linear(&bench, dtype, rows)?;
        }
    }
    for (dtype, format) in FORMATS {
        for rows in [1, 4, 8, 256] {
            quantized_linear(&bench, dtype, format, rows)?;
        }
    }
    for rows in [1, 512] {
        norm_and_activation(&bench, rows)?;
    }
    Ok(())
}

struct Bench {
    words: Vec<String>,
    /// Bytes a second that all threads read.
    bandwidth: f64,
    /// Products of bytes a second, summed, of all threads.
    macs: f64,
}

/// What an operation must do at least.
#[derive(Default)]
struct Work {
    bytes: usize,
    byte_macs: usize,
    /// Seconds of the reference kernel on one thread over ours, likewise.
    to_scalar: Option<f64>,
}

/// Grouped attention of DeepSeek-R1-Distill-Qwen-7B's shape: 28 heads of 128 over 4 KV heads.
fn attention(bench: &Bench, rows: usize, context: usize) -> Result<()> {
    const HEADS: usize = 28;
    const KV_HEADS: usize = 4;
    const HEAD_DIM: usize = 128;
    const BLOCK_SIZE: usize = 32;
    let name = format!("attention, {rows} rows, context {context}");
    if !bench.wants(&name) {
        return Ok(());
    }
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
    bench.compare(
        &name,
        &Work { bytes: 2 * context * KV_HEADS * HEAD_DIM * 2, ..Work::default() },
        || paged_attention(&queries, &keys, &values, &batch),
        || {
            let scores = (by_head.matmul(&all_keys)? * 0.088)?.broadcast_add(&mask)?;
            candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(&all_values)
        },
    )
}

fn linear(bench: &Bench, dtype: GgmlDType, rows: usize) -> Result<()> {
    let name = format!("linear {K} to {N}, {dtype:?}, {rows} rows");
    if !bench.wants(&name) {
        return Ok(());
    }
    let weight = random((N, K))?;
    let ours = Linear::new(&Weight::new(QTensor::quantize(&weight, dtype)?)?, None)?;
    let transposed = weight.t()?;
    let x = random((rows, K))?;
    let work = Work { bytes: N * K / dtype.block_size() * dtype.type_size(), ..Work::default() };
    bench.compare(&name, &work, || ours.forward(&x), || x.matmul(&transposed))
}

fn quantized_linear(
    bench: &Bench,
    dtype: GgmlDType,
    format: PackedFormat,
    rows: usize,
) -> Result<()> {
    let name = format!("linear {K} to {N}, {dtype:?}, {rows} rows");
    if !bench.wants(&name) {
        return Ok(());
    }
    let floats = random((N, K))?;
    let candle = QMatMul::from_arc(Arc::new(QTensor::quantize(&floats, dtype)?))?;
    let ours = Linear::new(&Weight::new(QTensor::quantize(&floats, dtype)?)?, None)?;
    let x = random((rows, K))?;
    let work = Work {
        bytes: format.packed_bytes(N, K).ok_or("K is not whole blocks")?,
        byte_macs: N * K * rows,
        to_scalar: Some(to_scalar(format, rows.min(8))?),
    };
    bench.compare(&name, &work, || ours.forward(&x), || candle.forward(&x))
}

/// How many times as long the reference kernel takes on a part of the same work.
fn to_scalar(format: PackedFormat, rows: usize) -> Result<f64> {
    const WEIGHTS: usize = 32;
    let weights = vec![0x11; format.packed_bytes(WEIGHTS, K).ok_or("K is not whole blocks")?];
    let mut out = vec![0.0; rows * WEIGHTS];
    let mut seconds = |table: &KernelTable| {
        let times = (0..9).map(|_| {
            let started = Instant::now();
            let columns = Columns::split(&mut out, WEIGHTS, WEIGHTS);
            columns.for_each(|mut out| match format {
                PackedFormat::Blocks(format) => {
                    let rows = vec![RowBlock::default(); rows * K / BLOCK_LEN];
                    let args = QuantizedLinearArgs { format, weights: &weights, rows: &rows, k: K };
                    table.quantized_linear(&args, &mut out);
                }
                PackedFormat::Supers(format) => {
                    let rows = vec![SuperRow::default(); rows * K / SUPER_LEN];
                    let args = SuperLinearArgs { format, weights: &weights, rows: &rows, k: K };
                    table.super_linear(&args, &mut out);
                }
            });
            started.elapsed()
        });
        median(times.collect()).as_secs_f64()
    };
    Ok(seconds(KernelTable::scalar()) / seconds(KernelTable::detect()))
}

fn norm_and_activation(bench: &Bench, rows: usize) -> Result<()> {
    let (x, weight) = (random((rows, K))?, random(K)?);
    let norm = RmsNorm::new(weight.clone(), 1e-6, &outcrop::ops::Device::Cpu)?;
    bench.compare(
        &format!("rms norm of {K}, {rows} rows"),
        &Work::default(),
        || norm.forward(&x),
        || candle_nn::ops::rms_norm(&x, &weight, 1e-6),
    )?;
    let (gate, up) = (random((rows, N))?, random((rows, N))?);
    bench.compare(
        &format!("silu of {N}, {rows} rows"),
        &Work::default(),
        || silu_mul(&gate, &up),
        || candle_nn::ops::silu(&gate)? * &up,
    )
}

fn random(shape: impl Into<candle_core::Shape>) -> candle_core::Result<Tensor> {
    Tensor::randn(0f32, 1f32, shape, &Device::Cpu)
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }

    /// Prints the medians of alternating runs, about a second for both sides.
    fn compare(
        &self,
        name: &str,
        work: &Work,
        ours: impl Fn() -> candle_core::Result<Tensor>,
        candle: impl Fn() -> candle_core::Result<Tensor>,
    ) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let (mut our_times, mut candle_times) = (Vec::new(), Vec::new());
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(1) || our_times.len() < 5 {
            our_times.push(timed(&ours)?);
            candle_times.push(timed(&candle)?);
        }
        let (ours, candle) = (median(our_times), median(candle_times));
        let ratio = candle.as_secs_f64() / ours.as_secs_f64();
        let share = |work: usize, peak: f64| match work {
            0 => "-".to_owned(),
            _ => format!("{:.0} %", work as f64 / ours.as_secs_f64() / peak * 100.0),
        };
        let scalar = work.to_scalar.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.0}x"));
        let memory = share(work.bytes, self.bandwidth);
        let macs = share(work.byte_macs, self.macs);
        writeln!(
            io::stdout(),
            "{name:36} {ours:>10.1?} {candle:>10.1?} {ratio:>6.2}x {scalar:>8} {memory:>10} \
             {macs:>8}"
        )?;
        Ok(())
    }
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

/// Seconds that all threads together take for `work`, at best.
fn together(work: impl Fn(usize) + Sync) -> f64 {
    let start = Barrier::new(num_threads() + 1);
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        best = best.min(
            thread::scope(|scope| {
                for id in 0..num_threads() {
                    let (start, work) = (&start, &work);
                    scope.spawn(move || {
                        start.wait();
                        work(id);
                    });
                }
                start.wait();
                Instant::now()
            })
            .elapsed()
            .as_secs_f64(),
        );
    }
    best
}

/// Bytes a second that all threads read of a buffer larger than caches.
fn bandwidth() -> f64 {
    const WORDS: usize = 1 << 25;
    let buffer: Vec<u64> = (0..WORDS as u64).collect();
    let share = WORDS.div_ceil(num_threads());
    let seconds = together(|id| {
        let mut sums = [0u64; 16];
        for words in buffer[id * share..WORDS.min((id + 1) * share)].chunks_exact(16) {
            for (sum, word) in sums.iter_mut().zip(words) {
                *sum ^= word;
            }
        }
        std::hint::black_box(sums);
    });
    (WORDS * size_of::<u64>()) as f64 / seconds
}

/// Products a second of bytes, added up in pairs, with all operands in registers.
fn macs() -> f64 {
    const ROUNDS: usize = 4_000_000;
    let seconds = together(|_| {
        #[cfg(target_arch = "x86_64")]
        if KernelTable::avx2().is_some() {
            // SAFETY: the table exists only if the CPU has AVX2.
            unsafe { multiply_bytes(ROUNDS) };
        }
    });
    (ROUNDS * 8 * 32 * num_threads()) as f64 / seconds
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn multiply_bytes(rounds: usize) {
    use std::arch::x86_64::*;
    let x = std::hint::black_box(_mm256_set1_epi8(3));
    let mut sums = [_mm256_setzero_si256(); 8];
    for _ in 0..rounds {
        for sum in &mut sums {
            // Each waits for the one before it in its own chain only.
            *sum = _mm256_maddubs_epi16(*sum, x);
        }
    }
    std::hint::black_box(sums);
}
