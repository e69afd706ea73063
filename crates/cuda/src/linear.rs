//! Matrices of weights, their products with rows, and their rows as they are.
//!
//! Few rows are multiplied as weights are unpacked, from whatever type they have; with the types
//! of most checkpoints they are multiplied as integers of 16 bits. More rows, which come in 16
//! bits, are multiplied by cuBLASLt with weights of the same type; other weights are unpacked into
//! that type first, a part of the matrix at a time. What cuBLASLt has no algorithm for is
//! multiplied as few rows are.

use std::sync::atomic::Ordering;

use crate::args::{GatherArgs, LinearArgs, LinearMatrix, MATRICES_MAX};
use crate::batch::Batch;
use crate::blas::Product;
use crate::memory::{Buffer, Scratch};
use crate::rows::{Rows, Vector, integers_bytes};
use crate::session::Session;
use crate::{CudaError, Float, Result};

/// Rows that one launch multiplies.
const LAUNCH_ROWS: usize = 8;
const WARPS: usize = 4;
/// Elements that a warp reads of a row at a time.
const RUN: usize = 256;
/// Elements of a row. Kernels reckon with the bytes of eight rows of integers in 32 bits.
const WIDTH_MAX: usize = 1 << 26;
const _: () = assert!(LAUNCH_ROWS * integers_bytes(WIDTH_MAX) <= u32::MAX as usize);
/// Of weights that are unpacked at a time.
const UNPACKED_BYTES: usize = 160 << 20;

/// How a file stores weights; names and layouts are GGML's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl WeightFormat {
    /// Elements of a block, and its bytes. Kernels read eight floats at a time.
    fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (8, 32),
            Self::F16 | Self::Bf16 => (8, 16),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q2K => (256, 84),
            Self::Q3K => (256, 110),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q4_0 => "q4_0",
            Self::Q4_1 => "q4_1",
            Self::Q5_0 => "q5_0",
            Self::Q5_1 => "q5_1",
            Self::Q8_0 => "q8_0",
            Self::Q2K => "q2_k",
            Self::Q3K => "q3_k",
            Self::Q4K => "q4_k",
            Self::Q5K => "q5_k",
            Self::Q6K => "q6_k",
        }
    }

    pub fn is_quantized(self) -> bool {
        self.float().is_none()
    }

    /// Whether products of few rows read activations as integers. The other quantized types are
    /// hardly met any more.
    fn multiplies_integers(self) -> bool {
        matches!(self, Self::Q8_0 | Self::Q4K | Self::Q5K | Self::Q6K)
    }

    fn float(self) -> Option<Float> {
        match self {
            Self::F32 => Some(Float::F32),
            Self::F16 => Some(Float::F16),
            Self::Bf16 => Some(Float::Bf16),
            _ => None,
        }
    }
}

/// Weights `[n, k]`, as a file has them.
#[derive(Debug)]
pub struct Matrix {
    buffer: Buffer,
    format: WeightFormat,
    n: usize,
    k: usize,
    row_bytes: usize,
}

impl Matrix {
    /// Copies `bytes` to the GPU, from wherever they are.
    pub fn new(
        session: &Session,
        format: WeightFormat,
        n: usize,
        k: usize,
        bytes: &[u8],
    ) -> Result<Self> {
        let (block_len, block_bytes) = format.block();
        if k == 0 || !k.is_multiple_of(block_len) || k > WIDTH_MAX {
            let expected = format!(
                "{format:?} on a GPU has rows of a multiple of {block_len}, to {WIDTH_MAX}"
            );
            return Err(CudaError::shape("length of weights", k, expected));
        }
        let row_bytes = k / block_len * block_bytes;
        if n.checked_mul(row_bytes) != Some(bytes.len()) {
            let expected = format!("[{n}, {k}] of {format:?} has {row_bytes} a row");
            return Err(CudaError::shape("bytes of weights", bytes.len(), expected));
        }
        if format.multiplies_integers() {
            session.wants_integers.store(true, Ordering::Relaxed);
        }
        Ok(Self { buffer: Buffer::of(&session.driver, bytes)?, format, n, k, row_bytes })
    }

    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Rows and their length.
    pub fn dims(&self) -> (usize, usize) {
        (self.n, self.k)
    }

    pub fn num_bytes(&self) -> usize {
        self.buffer.num_bytes()
    }
}

/// A layer: its weights and its bias.
pub type Layer<'a> = (&'a Matrix, Option<&'a Vector>);

impl Session {
    /// Products of `x` with several layers, as `f32`. Rows of `f32` should be few.
    pub fn linear<const N: usize>(&self, layers: [Layer<'_>; N], x: &Rows) -> Result<[Rows; N]> {
        let mut outputs = Vec::with_capacity(N);
        for (matrix, bias) in layers {
            if let Some(bias) = bias {
                bias.expect_len("bias", matrix.n)?;
            }
            if matrix.k != x.width() {
                let expected = format!("the weights have {}", matrix.k);
                return Err(CudaError::shape("rows of a product", x.width(), expected));
            }
            outputs.push(Rows::new(self, x.num_rows(), matrix.n, Float::F32)?);
        }
        if x.dtype() == Float::F32 {
            let made = self.integers_for(&layers.map(|(matrix, _)| matrix), x)?;
            let integers = x.integers.as_ref().or(made.as_ref()).map_or(0, |it| it.address);
            for group in groups(&layers) {
                let group: Vec<_> = group.iter().map(|&at| (layers[at], &outputs[at])).collect();
                self.launch_linear(&group, (x, integers), false)?;
            }
        } else {
            for ((matrix, bias), out) in layers.iter().zip(&outputs) {
                self.multiply((matrix, *bias), x, out)?;
            }
        }
        Ok(outputs.try_into().expect("one for each layer"))
    }

    /// `silu(gate x) * (up x)`, in the type of `x`.
    pub fn gated(&self, gate: &Matrix, up: &Matrix, x: &Rows) -> Result<Rows> {
        if (gate.n, gate.k) != (up.n, up.k) {
            let expected = format!("what it gates is {:?}", up.dims());
            return Err(CudaError::shape("gate", format!("{:?}", gate.dims()), expected));
        }
        if x.dtype() == Float::F32 && gate.format == up.format && gate.k == x.width() {
            let out = Rows::new(self, x.num_rows(), gate.n, Float::F32)?;
            let made = self.integers_for(&[gate, up], x)?;
            let integers = x.integers.as_ref().or(made.as_ref()).map_or(0, |it| it.address);
            let layers = [((gate, None), &out), ((up, None), &out)];
            self.launch_linear(&layers, (x, integers), true)?;
            return Ok(out);
        }
        let [gate, up] = self.linear([(gate, None), (up, None)], x)?;
        self.silu_mul(&gate, &up, x.dtype())
    }

    /// `x` as integers, unless it has them or no matrix is multiplied with them.
    fn integers_for(&self, matrices: &[&Matrix], x: &Rows) -> Result<Option<Scratch>> {
        let is_wanted = matrices.iter().any(|matrix| matrix.format.multiplies_integers());
        let is_made = x.integers.is_some();
        if is_wanted && !is_made { self.make_integers(x).map(Some) } else { Ok(None) }
    }

    /// One type of weights, few rows at a time; `integers` is where `x` is as integers, for types
    /// that are multiplied with those.
    fn launch_linear(
        &self,
        layers: &[(Layer<'_>, &Rows)],
        (x, integers): (&Rows, u64),
        gated: bool,
    ) -> Result<()> {
        let ((first, _), _) = layers[0];
        let (x_address, x_bytes, kernel) = match first.format.multiplies_integers() {
            true => (integers, integers_bytes(first.k), "integer"),
            false => (x.address(), first.k * 4, "linear"),
        };
        for start in (0..x.num_rows()).step_by(LAUNCH_ROWS) {
            let num_rows = (x.num_rows() - start).min(LAUNCH_ROWS);
            let rows_of_kernel = num_rows.next_power_of_two();
            // Outputs of a warp, as the kernel of this many rows has it.
            let width = if rows_of_kernel >= 4 { 4 } else { 2 };
            let mut matrices = [LinearMatrix { weights: 0, bias: 0, out: 0, n: 0 }; MATRICES_MAX];
            let mut warps = 0;
            for (entry, ((matrix, bias), out)) in matrices.iter_mut().zip(layers) {
                *entry = LinearMatrix {
                    weights: matrix.buffer.address(),
                    bias: bias.map_or(0, Vector::address),
                    out: out.address() + (start * matrix.n * 4) as u64,
                    n: matrix.n as i64,
                };
                warps += matrix.n.div_ceil(width);
            }
            if gated {
                warps = first.n.div_ceil(width / 2);
            }
            let args = LinearArgs {
                matrices,
                x: x_address + (start * x_bytes) as u64,
                k: first.k as i32,
                row_bytes: first.row_bytes as i32,
                num_rows: num_rows as i32,
                num_matrices: layers.len() as i32,
                gated: i32::from(gated),
                reserved: 0,
            };
            let name = format!("{kernel}_{}_{rows_of_kernel}", first.format.suffix());
            let grid = [warps.div_ceil(WARPS), 1, 1];
            // SAFETY: callers have compared the matrices with `x` and made `out` for them.
            unsafe { self.driver.launch(&name, grid, WARPS * 32, 0, &args) }?;
        }
        Ok(())
    }

    /// Rows of 16 bits.
    fn multiply(&self, (matrix, bias): Layer<'_>, x: &Rows, out: &Rows) -> Result<()> {
        if bias.is_some() && self.multiply_by_blas((matrix, bias), x, out)? {
            return Ok(());
        }
        if self.multiply_by_blas((matrix, None), x, out)? {
            return bias.map_or(Ok(()), |bias| self.add_bias(out, bias));
        }
        let x = self.floats_of(x)?;
        let made = self.integers_for(&[matrix], &x)?;
        let integers = made.as_ref().map_or(0, |it| it.address);
        self.launch_linear(&[((matrix, bias), out)], (&x, integers), false)
    }

    /// False if cuBLASLt has no algorithm for it; what `out` then holds is nothing.
    fn multiply_by_blas(&self, (matrix, bias): Layer<'_>, x: &Rows, out: &Rows) -> Result<bool> {
        let dtype = x.dtype();
        let mut product = Product {
            weights: matrix.buffer.address(),
            x: x.address(),
            out: out.address(),
            bias: bias.map_or(0, Vector::address),
            n: matrix.n,
            k: matrix.k,
            num_rows: x.num_rows(),
            out_stride: matrix.n,
            dtype,
        };
        if matrix.format.float() == Some(dtype) {
            // SAFETY: the caller has compared the matrix with `x` and made `out` for it.
            return unsafe { self.blas.multiply(&product) };
        }
        // cuBLASLt's addresses are multiples of 256, which 64 elements are.
        let part = (UNPACKED_BYTES / (matrix.k * dtype.bytes())).max(64) / 64 * 64;
        for first in (0..matrix.n).step_by(part) {
            let n = part.min(matrix.n - first);
            let unpacked = Rows::new(self, n, matrix.k, dtype)?;
            self.unpack(matrix, first, 0, &unpacked)?;
            product.weights = unpacked.address();
            product.out = out.address() + (first * 4) as u64;
            product.bias = bias.map_or(0, |bias| bias.address() + (first * 4) as u64);
            product.n = n;
            // SAFETY: as above, for these columns of `out`.
            if !unsafe { self.blas.multiply(&product) }? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Rows of 16 bits as `f32`.
    fn floats_of(&self, x: &Rows) -> Result<Rows> {
        let out = Rows::new(self, x.num_rows(), x.width(), Float::F32)?;
        let args = GatherArgs {
            weights: x.address(),
            ids: 0,
            out: out.address(),
            num_rows: x.num_rows() as i64,
            k: x.width() as i32,
            row_bytes: (x.width() * x.dtype().bytes()) as i32,
        };
        // SAFETY: both have these rows.
        unsafe { self.launch_gather(x.dtype().suffix(), &args, &out) }?;
        Ok(out)
    }

    /// The rows of `table` that the batch's ids name, as `f32`.
    pub fn embedding(&self, table: &Matrix, batch: &Batch) -> Result<Rows> {
        if table.n < batch.limits.vocab_size {
            let expected = format!("the table has {}", table.n);
            return Err(CudaError::shape("vocabulary", batch.limits.vocab_size, expected));
        }
        let out = Rows::new(self, batch.num_rows(), table.k, Float::F32)?;
        self.unpack(table, 0, batch.token_ids, &out)?;
        Ok(out)
    }

    /// The elements of a matrix, for tests.
    pub fn elements(&self, matrix: &Matrix) -> Result<Rows> {
        let out = Rows::new(self, matrix.n, matrix.k, Float::F32)?;
        self.unpack(matrix, 0, 0, &out)?;
        Ok(out)
    }

    fn unpack(&self, matrix: &Matrix, first: usize, ids: u64, out: &Rows) -> Result<()> {
        let args = GatherArgs {
            weights: matrix.buffer.address() + (first * matrix.row_bytes) as u64,
            ids,
            out: out.address(),
            num_rows: out.num_rows() as i64,
            k: matrix.k as i32,
            row_bytes: matrix.row_bytes as i32,
        };
        // SAFETY: callers have made `out` of the matrix's width, for rows that it has.
        unsafe { self.launch_gather(matrix.format.suffix(), &args, out) }
    }

    /// # Safety
    ///
    /// As of [`crate::driver::Driver::launch`].
    unsafe fn launch_gather(&self, format: &str, args: &GatherArgs, out: &Rows) -> Result<()> {
        let name = format!("gather_{format}_{}", out.dtype().suffix());
        let warps = out.num_rows() * out.width().div_ceil(RUN);
        // SAFETY: the caller's.
        unsafe { self.driver.launch(&name, [warps.div_ceil(WARPS), 1, 1], WARPS * 32, 0, args) }
    }
}

/// Indices of layers, those of one type together.
fn groups(layers: &[Layer<'_>]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (at, (matrix, _)) in layers.iter().enumerate() {
        let is_alike = |group: &&mut Vec<usize>| layers[group[0]].0.format == matrix.format;
        match groups.iter_mut().find(is_alike) {
            Some(group) if group.len() < MATRICES_MAX => group.push(at),
            _ => groups.push(vec![at]),
        }
    }
    groups
}
