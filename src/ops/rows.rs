//! Row operations: norm, rope, activation and the residual sum.

use candle_core::{CpuStorage, CustomOp2, InplaceOp2, InplaceOp3, Layout, Result, Shape, Tensor};
use kernels::{KernelTable, RmsNormArgs, RopeArgs, RopeLayout};

use super::device::Device;
use super::parallel::{for_each_chunk, rows_per_chunk};
use super::profile::timed;
use super::storage::{f32_slice, f32_slice_mut};

/// Root mean square norm over the last dimension of its weight's length.
#[derive(Debug)]
pub struct RmsNorm {
    weight: Tensor,
    eps: f32,
    #[cfg(feature = "cuda")]
    on_gpu: Option<cuda::Vector>,
}

impl RmsNorm {
    /// `weight` is `[n]`, `f32`, on the CPU; it goes to `device` from there.
    pub fn new(weight: Tensor, eps: f32, device: &Device) -> Result<Self> {
        match device {
            Device::Cpu => Ok(Self {
                weight,
                eps,
                #[cfg(feature = "cuda")]
                on_gpu: None,
            }),
            #[cfg(feature = "cuda")]
            Device::Cuda(session) => {
                let on_gpu = Some(super::cuda::vector(session, &weight)?);
                Ok(Self { weight, eps, on_gpu })
            }
        }
    }

    #[cfg(feature = "cuda")]
    pub(super) fn on_gpu(&self) -> Result<(&cuda::Vector, f32)> {
        match &self.on_gpu {
            Some(weight) => Ok((weight, self.eps)),
            None => candle_core::bail!("the norm is not on the GPU"),
        }
    }

    /// `x` is any whole number of rows of `n`, so it also norms the heads of a row one by one.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        timed(|| "norm", || x.apply_op2_no_bwd(&self.weight, self))
    }
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let rows = f32_slice(x, x_layout)?;
        let weight = f32_slice(weight, weight_layout)?;
        let mut out = vec![0f32; rows.len()];
        let chunk_len = rows_per_chunk(weight.len()) * weight.len();
        let table = KernelTable::detect();
        for_each_chunk(&mut out, chunk_len, |index, out| {
            let start = index * chunk_len;
            let rows = &rows[start..start + out.len()];
            table.rms_norm(&RmsNormArgs { rows, weight, eps: self.eps }, out);
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }
}

/// Cosines and sines of a step's rows, each `[num_rows, head_dim / 2]`.
#[derive(Debug, Clone)]
pub struct Rotation {
    pub cos: Tensor,
    pub sin: Tensor,
    pub layout: RopeLayout,
}

/// Rotates the heads of `x`, `[num_rows, num_heads * head_dim]`, in place.
pub fn apply_rope(x: &Tensor, rotation: &Rotation) -> Result<()> {
    let rope = Rope { layout: rotation.layout };
    timed(|| "rope", || x.inplace_op3(&rotation.cos, &rotation.sin, &rope))
}

struct Rope {
    layout: RopeLayout,
}

impl InplaceOp3 for Rope {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        cos: &CpuStorage,
        cos_layout: &Layout,
        sin: &CpuStorage,
        sin_layout: &Layout,
    ) -> Result<()> {
        let (num_rows, row_len) = x_layout.shape().dims2()?;
        let (_, half) = cos_layout.shape().dims2()?;
        let cos = f32_slice(cos, cos_layout)?;
        let sin = f32_slice(sin, sin_layout)?;
        let chunk_rows = rows_per_chunk(row_len);
        let table = KernelTable::detect();
        let x = f32_slice_mut(x, x_layout)?;
        for_each_chunk(x, chunk_rows * row_len, |index, rows| {
            let first = index * chunk_rows;
            let angles = first * half..num_rows.min(first + chunk_rows) * half;
            let args = RopeArgs {
                cos: &cos[angles.clone()],
                sin: &sin[angles],
                num_heads: row_len / (2 * half),
                head_dim: 2 * half,
                layout: self.layout,
            };
            table.rope(&args, rows);
        });
        Ok(())
    }
}

/// `silu(gate) * up`.
pub fn silu_mul(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    timed(|| "activation", || gate.apply_op2_no_bwd(up, &SiluMul))
}

struct SiluMul;

impl CustomOp2 for SiluMul {
    fn name(&self) -> &'static str {
        "silu-mul"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let gate = f32_slice(gate, gate_layout)?;
        let up = f32_slice(up, up_layout)?;
        let mut out = vec![0f32; gate.len()];
        let chunk_len = rows_per_chunk(1);
        let table = KernelTable::detect();
        for_each_chunk(&mut out, chunk_len, |index, out| {
            let range = index * chunk_len..index * chunk_len + out.len();
            table.silu_mul(&gate[range.clone()], &up[range], out);
        });
        Ok((CpuStorage::F32(out), gate_layout.shape().clone()))
    }
}

/// Adds `other` to `x` in place: the residual stream is one buffer for the whole step.
pub fn add_rows(x: &Tensor, other: &Tensor) -> Result<()> {
    timed(|| "residual sum", || x.inplace_op2(other, &AddRows))
}

struct AddRows;

impl InplaceOp2 for AddRows {
    fn name(&self) -> &'static str {
        "add-rows"
    }

    fn cpu_fwd(
        &self,
        x: &mut CpuStorage,
        x_layout: &Layout,
        other: &CpuStorage,
        other_layout: &Layout,
    ) -> Result<()> {
        let other = f32_slice(other, other_layout)?;
        let chunk_len = rows_per_chunk(1);
        for_each_chunk(f32_slice_mut(x, x_layout)?, chunk_len, |index, x| {
            let start = index * chunk_len;
            kernels::add_rows(x, &other[start..start + x.len()]);
        });
        Ok(())
    }
}
