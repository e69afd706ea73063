//! The decoder's operations on an NVIDIA GPU.
//!
//! Activations are `f32` between operations. What a product of many rows reads is made in 16 bits
//! by the operation before, so that cuBLASLt multiplies it; few rows are multiplied in `f32`, or
//! with quantized weights as integers of 16 bits, which lose less than 16-bit floats do.

use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use candle_core::{Error, Result, Tensor, bail};
use cuda::{Batch, BatchSeq, BatchSpec, CudaError, Float, Rotations, Session, WeightFormat};

use super::device::{Ceilings, KvLayer, Rows};
use super::linear::{Embedding, Linear};
use super::logits::{DistantLogits, LOGITS_BLOCK, Logits, WeighRow};
use super::rows::RmsNorm;
use super::step::{Projections, StepSpec};

/// Rows up to which weights are unpacked as they are multiplied, eight rows in a pass over them.
/// Reading floats twice costs more than cuBLASLt does. Of quantized weights, unpacking 4.5 bits
/// into memory and reading those 16 moves as much as eight passes; by its instructions a pass of
/// eight rows takes up to twice the time of its bytes where memory is fast beside the
/// multiprocessors (A100, H100), so that four passes are not dearer there, and less elsewhere.
const FEW_ROWS_FLOATS: usize = 4;
const FEW_ROWS_QUANTIZED: usize = 32;

/// A decoder's own things on a GPU, beside its weights.
#[derive(Debug)]
pub struct CudaDecoder {
    session: Arc<Session>,
    rotations: Rotations,
    few_rows: usize,
    /// In which products of many rows are computed.
    many: Float,
}

impl CudaDecoder {
    /// `pairs` is `[positions, half]` of cosine and sine; `weights` are the types of the layers'.
    pub fn new(
        session: &Arc<Session>,
        (pairs, half, adjacent): (&[[f32; 2]], usize, bool),
        weights: impl Iterator<Item = GgmlDType>,
    ) -> Result<Self> {
        let (mut is_quantized, mut is_f16) = (false, true);
        for format in weights.map(weight_format) {
            is_quantized |= format.is_quantized();
            is_f16 &= format == WeightFormat::F16;
        }
        Ok(Self {
            rotations: Rotations::new(session, pairs, half, adjacent).map_err(Error::wrap)?,
            few_rows: if is_quantized { FEW_ROWS_QUANTIZED } else { FEW_ROWS_FLOATS },
            many: if is_f16 || !session.has_bf16() { Float::F16 } else { Float::Bf16 },
            session: Arc::clone(session),
        })
    }

    /// `first` is the first layer of the cache that the step is over.
    pub fn step<'a>(&'a self, spec: &StepSpec<'_>, first: &'a KvLayer) -> Result<CudaStep<'a>> {
        let KvLayer::Cuda(first) = first else { bail!("the KV cache is not on the GPU") };
        let seqs: Vec<BatchSeq<'_>> = spec
            .seqs
            .iter()
            .map(|seq| BatchSeq {
                num_rows: seq.rows.len(),
                context_len: seq.context_len,
                block_table: &seq.block_table,
            })
            .collect();
        let spec = BatchSpec {
            token_ids: spec.token_ids,
            positions: spec.positions,
            seqs: &seqs,
            wanted: spec.wanted,
            block_size: spec.block_size,
            num_blocks: spec.num_blocks,
            num_heads: spec.num_heads,
            num_kv_heads: spec.num_kv_heads,
            vocab_size: spec.vocab_size,
            num_positions: self.rotations.num_positions(),
        };
        let batch = Batch::new(&self.session, &spec).map_err(Error::wrap)?;
        Ok(CudaStep { decoder: self, batch, first })
    }

    /// Whether no later step can succeed.
    pub fn is_lost(&self) -> bool {
        self.session.is_lost()
    }

    fn dtype(&self, num_rows: usize) -> Float {
        if num_rows <= self.few_rows { Float::F32 } else { self.many }
    }
}

pub struct CudaStep<'a> {
    decoder: &'a CudaDecoder,
    batch: Batch,
    /// Tells the cache from another.
    first: &'a cuda::KvLayer,
}

impl CudaStep<'_> {
    fn session(&self) -> &Arc<Session> {
        &self.decoder.session
    }

    /// Of what the step's products read.
    fn dtype(&self) -> Float {
        self.decoder.dtype(self.batch.num_rows())
    }

    pub(super) fn run(&self, vocab_size: usize, work: impl Fn() -> Result<Rows>) -> Result<Logits> {
        let work = || match work() {
            Ok(Rows::Cuda(rows)) => Ok(rows),
            Ok(Rows::Cpu(_)) => unreachable!("rows are where the step is"),
            Err(error) => Err(CudaError::Operation(error.to_string())),
        };
        // SAFETY: the session is this decoder's alone, so `work` is its one computation; the id is
        // that of a layer which is borrowed here, and a cache's layers live as long as each other.
        let logits = unsafe { self.session().compute(&self.batch, self.first.id(), work) };
        if let Some(error) = self.session().take_refusal() {
            tracing::warn!(%error, "decode steps of a size cannot be captured, so they are slower");
        }
        Ok(Logits::distant(Box::new(logits.map_err(Error::wrap)?), vocab_size))
    }

    pub(super) fn wants_nothing(&self) -> bool {
        self.batch.num_wanted() == 0
    }

    pub(super) fn embed(&self, table: &Embedding) -> Result<Rows> {
        let rows = self.session().embedding(table.on_gpu()?, &self.batch);
        rows.map(Rows::Cuda).map_err(Error::wrap)
    }

    pub(super) fn add_and_norm(
        &self,
        x: &Rows,
        delta: Option<Rows>,
        norm: &RmsNorm,
    ) -> Result<Rows> {
        let (weight, eps) = norm.on_gpu()?;
        let delta = delta.as_ref().map(on_gpu);
        let rows = self.session().rms_norm(on_gpu(x), delta, weight, eps, self.dtype());
        rows.map(Rows::Cuda).map_err(Error::wrap)
    }

    pub(super) fn add_and_norm_wanted(
        &self,
        x: &Rows,
        delta: Option<Rows>,
        norm: &RmsNorm,
    ) -> Result<Rows> {
        let (weight, eps) = norm.on_gpu()?;
        let (session, x) = (self.session(), on_gpu(x));
        if let Some(delta) = &delta {
            session.add(x, on_gpu(delta)).map_err(Error::wrap)?;
        }
        let dtype = self.decoder.dtype(self.batch.num_wanted_rows());
        let rows = session.rms_norm_wanted(x, &self.batch, weight, eps, dtype);
        rows.map(Rows::Cuda).map_err(Error::wrap)
    }

    pub(super) fn linear(&self, layer: &Linear, x: &Rows) -> Result<Rows> {
        let [rows] = self.session().linear([layer.on_gpu()?], on_gpu(x)).map_err(Error::wrap)?;
        Ok(Rows::Cuda(rows))
    }

    pub(super) fn gated(&self, gate: &Linear, up: &Linear, x: &Rows) -> Result<Rows> {
        let ((gate, None), (up, None)) = (gate.on_gpu()?, up.on_gpu()?) else {
            bail!("gates have no bias")
        };
        let rows = self.session().gated(gate, up, on_gpu(x));
        rows.map(Rows::Cuda).map_err(Error::wrap)
    }

    pub(super) fn attend(&self, layers: &Projections<'_>, x: &Rows, kv: &KvLayer) -> Result<Rows> {
        let KvLayer::Cuda(kv) = kv else { bail!("the KV cache is not on the GPU") };
        let session = self.session();
        let projections = [layers.query.on_gpu()?, layers.key.on_gpu()?, layers.value.on_gpu()?];
        let [mut query, mut key, value] =
            session.linear(projections, on_gpu(x)).map_err(Error::wrap)?;
        if let Some((query_norm, key_norm)) = layers.head_norms {
            let norm = |rows: &cuda::Rows, norm: &RmsNorm| {
                let (weight, eps) = norm.on_gpu()?;
                session.rms_norm(rows, None, weight, eps, Float::F32).map_err(Error::wrap)
            };
            query = norm(&query, query_norm)?;
            key = norm(&key, key_norm)?;
        }
        let rotations = &self.decoder.rotations;
        session
            .rope_write([&query, &key, &value], rotations, &self.batch, kv)
            .and_then(|()| session.attention(&query, &self.batch, kv, self.dtype()))
            .map(Rows::Cuda)
            .map_err(Error::wrap)
    }
}

const _: () = assert!(cuda::LOGITS_BLOCK == LOGITS_BLOCK, "both sides count in the same blocks");

impl DistantLogits for cuda::Logits {
    fn num_rows(&self) -> usize {
        self.num_rows()
    }

    fn maxima(&self, row: usize) -> &[f32] {
        self.maxima(row)
    }

    fn weigh(&self, rows: &[WeighRow]) -> Result<Vec<f32>> {
        let of = |it: &WeighRow| {
            let WeighRow { row, max, inverse_temperature, least } = *it;
            cuda::WeighRow { row, max, inverse_temperature, least }
        };
        self.weigh(&rows.iter().map(of).collect::<Vec<_>>()).map_err(Error::wrap)
    }

    fn blocks(&self, blocks: &[(usize, usize)]) -> Result<Vec<f32>> {
        let of = |&(row, block): &(usize, usize)| cuda::LogitsBlock { row, block };
        self.blocks(&blocks.iter().map(of).collect::<Vec<_>>()).map_err(Error::wrap)
    }

    fn rows(&self, rows: std::ops::Range<usize>) -> Result<Vec<f32>> {
        self.rows(rows).map_err(Error::wrap)
    }
}

/// With buffers that no cache holds, a size of products that fills every GPU, and repeats that take
/// a tenth of a second; small ones where the GPU is a stand-in.
pub(super) fn ceilings(session: &Session) -> cuda::Result<Ceilings> {
    let is_small = session.info().total_bytes < 2 << 30;
    let (bytes, size, repeats) = if is_small { (1 << 16, 32, 1) } else { (1 << 30, 8192, 50) };
    let dtype = if session.has_bf16() { Float::Bf16 } else { Float::F16 };
    Ok(Ceilings {
        copy_bytes_per_s: session.measure_copy(bytes, repeats)?,
        operations_per_s: session.measure_product(size, dtype, repeats)?,
    })
}

fn on_gpu(rows: &Rows) -> &cuda::Rows {
    match rows {
        Rows::Cuda(rows) => rows,
        Rows::Cpu(_) => unreachable!("rows are where the step is"),
    }
}

/// Puts a vector of `f32` on the GPU.
pub(super) fn vector(session: &Session, values: &Tensor) -> Result<cuda::Vector> {
    cuda::Vector::new(session, &values.to_vec1::<f32>()?).map_err(Error::wrap)
}

/// The elements of a matrix, on the CPU.
pub(super) fn elements(session: &Session, matrix: &cuda::Matrix) -> Result<Tensor> {
    let (n, k) = matrix.dims();
    let rows = session.elements(matrix).map_err(Error::wrap)?;
    let values = session.download(&rows, n).map_err(Error::wrap)?;
    Tensor::from_vec(values, (n, k), &candle_core::Device::Cpu)
}

pub(super) fn weight_format(dtype: GgmlDType) -> WeightFormat {
    match dtype {
        GgmlDType::F16 => WeightFormat::F16,
        GgmlDType::BF16 => WeightFormat::Bf16,
        GgmlDType::Q4_0 => WeightFormat::Q4_0,
        GgmlDType::Q4_1 => WeightFormat::Q4_1,
        GgmlDType::Q5_0 => WeightFormat::Q5_0,
        GgmlDType::Q5_1 => WeightFormat::Q5_1,
        GgmlDType::Q8_0 => WeightFormat::Q8_0,
        GgmlDType::Q2K => WeightFormat::Q2K,
        GgmlDType::Q3K => WeightFormat::Q3K,
        GgmlDType::Q4K => WeightFormat::Q4K,
        GgmlDType::Q5K => WeightFormat::Q5K,
        GgmlDType::Q6K => WeightFormat::Q6K,
        GgmlDType::F32 => WeightFormat::F32,
        GgmlDType::Q8_1 | GgmlDType::Q8K => unreachable!("no checkpoint holds {dtype:?}"),
    }
}

pub(super) fn ggml_dtype(format: WeightFormat) -> GgmlDType {
    match format {
        WeightFormat::F32 => GgmlDType::F32,
        WeightFormat::F16 => GgmlDType::F16,
        WeightFormat::Bf16 => GgmlDType::BF16,
        WeightFormat::Q4_0 => GgmlDType::Q4_0,
        WeightFormat::Q4_1 => GgmlDType::Q4_1,
        WeightFormat::Q5_0 => GgmlDType::Q5_0,
        WeightFormat::Q5_1 => GgmlDType::Q5_1,
        WeightFormat::Q8_0 => GgmlDType::Q8_0,
        WeightFormat::Q2K => GgmlDType::Q2K,
        WeightFormat::Q3K => GgmlDType::Q3K,
        WeightFormat::Q4K => GgmlDType::Q4K,
        WeightFormat::Q5K => GgmlDType::Q5K,
        WeightFormat::Q6K => GgmlDType::Q6K,
    }
}
