//! Linear layers and the embedding, over weights as the checkpoint stores them.
//!
//! On the CPU, products with unquantized weights are ours, and so are those with quantized ones
//! where there are kernels for them. Candle would widen 16-bit weights to `f32` (twice the memory
//! and, when decoding, twice the traffic) or else round the activations to the weights' type, which
//! costs bf16 models three digits; its products with quantized weights differ by batch size.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{
    CpuStorage, CustomOp1, Device, InplaceOp2, Layout, Module, Result, Shape, Tensor, bail,
};
use kernels::{Columns, Floats, KernelTable, LinearArgs};

use super::parallel::{for_each, for_each_chunk, rows_per_chunk};
use super::profile::timed;
use super::rows::silu_mul;
use super::storage::{f32_slice, f32_slice_mut};
use super::weight::{Packed, Storage, Weight};

/// `x W^T + b`.
#[derive(Debug)]
pub struct Linear {
    matrix: Matrix,
    /// `[n]`, `f32`.
    bias: Option<Tensor>,
}

#[derive(Debug)]
enum Matrix {
    Candle(QMatMul),
    Packed(Arc<Packed>),
    Dense(Dense),
    #[cfg(feature = "cuda")]
    Cuda {
        matrix: Arc<cuda::Matrix>,
        bias: Option<cuda::Vector>,
    },
}

impl Linear {
    /// `weight` is `[n, k]`, `bias` is `[n]` of `f32`.
    pub fn new(weight: &Weight, bias: Option<Tensor>) -> Result<Self> {
        let matrix = match &weight.storage {
            Storage::Candle(tensor) => Matrix::of(Arc::clone(tensor))?,
            Storage::Packed(packed) => Matrix::Packed(Arc::clone(packed)),
            #[cfg(feature = "cuda")]
            Storage::Cuda { matrix, session } => {
                let bias = bias.map(|bias| super::cuda::vector(session, &bias)).transpose()?;
                let matrix = Matrix::Cuda { matrix: Arc::clone(matrix), bias };
                return Ok(Self { matrix, bias: None });
            }
        };
        Ok(Self { matrix, bias })
    }

    #[cfg(feature = "cuda")]
    pub(super) fn on_gpu(&self) -> Result<cuda::Layer<'_>> {
        match &self.matrix {
            Matrix::Cuda { matrix, bias } => Ok((matrix, bias.as_ref())),
            _ => bail!("the weights are not on the GPU"),
        }
    }

    /// `[num_rows, k]` to `[num_rows, n]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match &self.matrix {
            Matrix::Candle(matrix) => timed(|| "product, Candle's", || matrix.forward(x))?,
            Matrix::Packed(matrix) => {
                let [y] = Packed::products([matrix], x)?;
                y
            }
            Matrix::Dense(matrix) => timed(|| matrix.name(), || x.apply_op1_no_bwd(matrix))?,
            #[cfg(feature = "cuda")]
            Matrix::Cuda { .. } => bail!("the weights are on a GPU, and the rows are not"),
        };
        self.add_bias(y)
    }

    /// Several layers of the same input, which the threads work on together where they can.
    pub fn forward_all<const N: usize>(layers: [&Self; N], x: &Tensor) -> Result<[Tensor; N]> {
        let packed = layers.map(|layer| match &layer.matrix {
            Matrix::Packed(matrix) => Some(&**matrix),
            _ => None,
        });
        let outputs: Vec<Tensor> = if packed.iter().all(Option::is_some) {
            let products = Packed::products(packed.map(|matrix| matrix.expect("all are")), x)?;
            let outputs = layers.iter().zip(products).map(|(layer, y)| layer.add_bias(y));
            outputs.collect::<Result<_>>()?
        } else {
            layers.iter().map(|layer| layer.forward(x)).collect::<Result<_>>()?
        };
        Ok(outputs.try_into().expect("one for each layer"))
    }

    /// `down (silu(gate x) * (up x))`, in one operation where it can be.
    pub fn feed_forward(gate: &Self, up: &Self, down: &Self, x: &Tensor) -> Result<Tensor> {
        if let (
            Self { matrix: Matrix::Packed(gate), bias: None },
            Self { matrix: Matrix::Packed(up), bias: None },
            Self { matrix: Matrix::Packed(inner), .. },
        ) = (gate, up, down)
        {
            return down.add_bias(Packed::feed_forward(gate, up, inner, x)?);
        }
        let [gate, up] = Self::forward_all([gate, up], x)?;
        down.forward(&silu_mul(&gate, &up)?)
    }

    fn add_bias(&self, y: Tensor) -> Result<Tensor> {
        if let Some(bias) = &self.bias {
            timed(|| "bias", || y.inplace_op2(bias, &AddBias))?;
        }
        Ok(y)
    }
}

impl Matrix {
    fn of(tensor: Arc<QTensor>) -> Result<Self> {
        let is_cpu = tensor.device().is_cpu();
        Ok(match tensor.dtype() {
            GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 if is_cpu => {
                Self::Dense(Dense(tensor))
            }
            _ => Self::Candle(QMatMul::from_arc(tensor)?),
        })
    }
}

/// Unquantized weights in host memory.
#[derive(Debug)]
struct Dense(Arc<QTensor>);

impl Dense {
    /// For a profile.
    fn name(&self) -> String {
        let (dtype, dims) = (self.0.dtype(), self.0.shape().dims());
        format!("product, {dtype:?}, {} to {}", dims[1], dims[0])
    }
}

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
        let mut out = vec![0f32; num_rows * n];
        let columns = Columns::split(&mut out, n, DENSE_CHUNK).enumerate();
        for_each(columns, |(index, mut columns)| {
            let start = index * DENSE_CHUNK * k;
            let weights = weights.slice(start..start + columns.width() * k);
            table.linear(&LinearArgs { weights, rows, k }, &mut columns);
        });
        Ok((CpuStorage::F32(out), Shape::from((num_rows, n))))
    }
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
    table: Arc<Weight>,
}

impl Embedding {
    /// `table` is `[vocab_size, hidden_size]`.
    pub fn new(table: Arc<Weight>) -> Self {
        Self { table }
    }

    /// `[token_ids.len(), hidden_size]`, `f32`. An id outside the vocabulary is an error.
    pub fn forward(&self, token_ids: &[u32]) -> Result<Tensor> {
        let look_up = || match &self.table.storage {
            Storage::Candle(table) => {
                table.embedding(&Tensor::from_slice(token_ids, token_ids.len(), &Device::Cpu)?)
            }
            Storage::Packed(table) => table.rows(token_ids.iter().map(|&id| id as usize)),
            #[cfg(feature = "cuda")]
            Storage::Cuda { .. } => bail!("the table is on a GPU, and the step is not"),
        };
        timed(|| "embedding", look_up)
    }

    #[cfg(feature = "cuda")]
    pub(super) fn on_gpu(&self) -> Result<&cuda::Matrix> {
        match &self.table.storage {
            Storage::Cuda { matrix, .. } => Ok(matrix),
            _ => bail!("the table is not on the GPU"),
        }
    }
}

#[cfg(test)]
mod tests {
    use kernels::ROW_TILE;

    use super::*;

    #[test]
    fn a_feed_forward_network_has_the_bits_of_its_operations_one_after_the_other() {
        let (n, k, num_rows) = (288, 256, ROW_TILE + 5);
        let of = |len: usize, step: usize| -> Vec<f32> {
            (0..len).map(|i| ((i * step) % 1009) as f32 / 504.0 - 1.0).collect()
        };
        let layer = |step: usize, (n, k): (usize, usize), dtype: GgmlDType| {
            let weight = Tensor::from_vec(of(n * k, step), (n, k), &Device::Cpu).unwrap();
            let weight = Weight::new(QTensor::quantize(&weight, dtype).unwrap()).unwrap();
            let bias = Tensor::from_vec(of(n, 7), n, &Device::Cpu).unwrap();
            Linear::new(&weight, (k == 288).then_some(bias)).unwrap()
        };
        let down = layer(359, (77, n), GgmlDType::Q8_0);
        let inputs = |num_rows: usize| {
            Tensor::from_vec(of(num_rows * k, 577), (num_rows, k), &Device::Cpu).unwrap()
        };
        for (first, second) in [(GgmlDType::Q4K, GgmlDType::Q6K), (GgmlDType::Q4_1, GgmlDType::Q5K)]
        {
            let (gate, up) = (layer(331, (n, k), first), layer(353, (n, k), second));
            // What is kept between them must not show: of many rows and then of few.
            for num_rows in [num_rows, 1, 3] {
                let x = inputs(num_rows);
                let apart = silu_mul(&gate.forward(&x).unwrap(), &up.forward(&x).unwrap()).unwrap();
                let apart = down.forward(&apart).unwrap().to_vec2::<f32>().unwrap();
                let together = Linear::feed_forward(&gate, &up, &down, &x).unwrap();
                assert_eq!(together.to_vec2::<f32>().unwrap(), apart);
            }
        }
        let gate = layer(331, (n, k), GgmlDType::Q4K);
        let wider = layer(353, (n + 8, k), GgmlDType::Q4K);
        let x = inputs(2);
        assert!(Linear::feed_forward(&gate, &wider, &down, &x).is_err());
        assert!(Linear::feed_forward(&wider, &wider, &down, &x).is_err());
    }

    /// Large enough for several chunks of weights and tiles of rows, none of them whole.
    #[test]
    fn every_type_of_weights_makes_the_products_of_its_elements() {
        let (n, k, num_rows) = (77, 256, ROW_TILE + 5);
        let of = |len: usize, step: usize| -> Vec<f32> {
            (0..len).map(|i| ((i * step) % 1009) as f32 / 504.0 - 1.0).collect()
        };
        let weight = Tensor::from_vec(of(n * k, 331), (n, k), &Device::Cpu).unwrap();
        let x = Tensor::from_vec(of(num_rows * k, 577), (num_rows, k), &Device::Cpu).unwrap();
        for dtype in [
            GgmlDType::F32,
            GgmlDType::F16,
            GgmlDType::BF16,
            GgmlDType::Q4_0,
            GgmlDType::Q4_1,
            GgmlDType::Q5_0,
            GgmlDType::Q5_1,
            GgmlDType::Q8_0,
            GgmlDType::Q2K,
            GgmlDType::Q3K,
            GgmlDType::Q4K,
            GgmlDType::Q5K,
            GgmlDType::Q6K,
        ] {
            let weight = QTensor::quantize(&weight, dtype).unwrap();
            let elements = weight.dequantize(&Device::Cpu).unwrap();
            let weight = Weight::new(weight).unwrap();
            let expected = x.matmul(&elements.t().unwrap()).unwrap().to_vec2::<f32>().unwrap();
            let found = Linear::new(&weight, None).unwrap().forward(&x).unwrap();
            let found = found.to_vec2::<f32>().unwrap();
            assert_eq!(found.len(), num_rows);
            for (found, expected) in found.concat().iter().zip(expected.concat()) {
                // 256 products of about 1/3, each rounded by up to 1/254 of its factor.
                assert!((found - expected).abs() < 0.25, "{dtype:?}: {found}, not {expected}");
            }
        }
    }
}
