//! Linear layers and the embedding, over weights as the checkpoint stores them.
//!
//! Quantized products are Candle's. Unquantized ones are ours on the CPU: Candle would widen
//! 16-bit weights to `f32` (twice the memory and, when decoding, twice the traffic) or else round
//! the activations to the weights' type, which costs bf16 models three digits.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{
    CpuStorage, CustomOp1, Device, InplaceOp2, Layout, Module, Result, Shape, Tensor, bail,
};
use kernels::{Floats, KernelTable, LinearArgs};

use super::parallel::{for_each_chunk, rows_per_chunk};
use super::storage::{f32_slice, f32_slice_mut};

/// `x W^T + b`.
#[derive(Debug)]
pub struct Linear {
    weight: Weight,
    /// `[n]`, `f32`.
    bias: Option<Tensor>,
}

#[derive(Debug)]
enum Weight {
    Candle(QMatMul),
    Dense(Dense),
}

impl Linear {
    /// `weight` is `[n, k]`, `bias` is `[n]` of `f32`.
    pub fn new(weight: Arc<QTensor>, bias: Option<Tensor>) -> Result<Self> {
        let dense = matches!(weight.dtype(), GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16);
        let weight = if dense && weight.device().is_cpu() {
            Weight::Dense(Dense(weight))
        } else {
            Weight::Candle(QMatMul::from_arc(weight)?)
        };
        Ok(Self { weight, bias })
    }

    /// `[num_rows, k]` to `[num_rows, n]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.weight {
            Weight::Candle(weight) => weight.forward(x)?,
            Weight::Dense(weight) => x.apply_op1_no_bwd(weight)?,
        };
        if let Some(bias) = &self.bias {
            y.inplace_op2(bias, &AddBias)?;
        }
        Ok(y)
    }
}

/// Unquantized weights in host memory.
#[derive(Debug)]
struct Dense(Arc<QTensor>);

/// Weight rows that a thread takes at a time: with `k` of 8,192 and 16 bits, 256 KiB, which stays
/// in the second-level cache while the activation rows pass.
const DENSE_CHUNK: usize = 16;

impl CustomOp1 for Dense {
    fn name(&self) -> &'static str {
        "dense-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, k) = self.0.shape().dims2()?;
        let (num_rows, x_k) = layout.shape().dims2()?;
        if x_k != k {
            bail!("rows of {x_k} do not fit weights of {k}")
        }
        let rows = f32_slice(x, layout)?;
        let bytes = self.0.data()?;
        let weights = match self.0.dtype() {
            GgmlDType::F32 => Floats::f32_from_bytes(&bytes),
            GgmlDType::F16 => Floats::f16_from_bytes(&bytes),
            GgmlDType::BF16 => Floats::bf16_from_bytes(&bytes),
            other => bail!("{other:?} weights are not dense"),
        };
        let weights = weights.expect("candle's storage is aligned to its elements");
        let table = KernelTable::detect();
        let mut columns = vec![0f32; n * num_rows];
        for_each_chunk(&mut columns, DENSE_CHUNK * num_rows, |index, out| {
            let num_weights = out.len() / num_rows;
            let start = index * DENSE_CHUNK * k;
            let weights = weights.slice(start..start + num_weights * k);
            table.linear(&LinearArgs { weights, rows, num_weights, num_rows, k }, out);
        });
        let out = if num_rows == 1 { columns } else { transposed(&columns, n, num_rows) };
        Ok((CpuStorage::F32(out), Shape::from((num_rows, n))))
    }
}

/// `[n, num_rows]` to `[num_rows, n]`.
fn transposed(columns: &[f32], n: usize, num_rows: usize) -> Vec<f32> {
    // Rows of a chunk share the cache lines that they read.
    const ROWS: usize = 16;
    let mut out = vec![0f32; columns.len()];
    for_each_chunk(&mut out, ROWS * n, |index, out| {
        for (column, values) in columns.chunks_exact(num_rows).enumerate() {
            for (row, value) in out.chunks_exact_mut(n).zip(&values[index * ROWS..]) {
                row[column] = *value;
            }
        }
    });
    out
}

struct AddBias;

impl InplaceOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        let bias = f32_slice(bias, bias_layout)?;
        let chunk_len = rows_per_chunk(bias.len()) * bias.len();
        for_each_chunk(f32_slice_mut(x, x_layout)?, chunk_len, |_, rows| {
            kernels::add_bias(rows, bias);
        });
        Ok(())
    }
}

/// Token embeddings. The table stays as it is stored; rows are dequantized when looked up.
#[derive(Debug)]
pub struct Embedding {
    table: Arc<QTensor>,
}

impl Embedding {
    /// `table` is `[vocab_size, hidden_size]`.
    pub fn new(table: Arc<QTensor>) -> Self {
        Self { table }
    }

    /// `[token_ids.len(), hidden_size]`, `f32`. An id outside the vocabulary is an error.
    pub fn forward(&self, token_ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::from_slice(token_ids, token_ids.len(), &Device::Cpu)?;
        self.table.embedding(&ids)
    }
}
