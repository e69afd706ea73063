//! Rows of activations, and operations that take them one by one.

use crate::args::{AddArgs, RmsNormArgs, SiluMulArgs};
use crate::batch::Batch;
use crate::memory::{Buffer, Scratch, copy_to};
use crate::session::Session;
use crate::{CudaError, Float, Result};

const THREADS: usize = 256;
const NORM_THREADS: usize = 1024;

/// Activations, `[num_rows, width]`.
#[derive(Debug)]
pub struct Rows {
    scratch: Scratch,
    num_rows: usize,
    width: usize,
    dtype: Float,
}

impl Rows {
    pub(crate) fn new(
        session: &Session,
        num_rows: usize,
        width: usize,
        dtype: Float,
    ) -> Result<Self> {
        let bytes = num_rows * width * dtype.bytes();
        Ok(Self { scratch: session.pool.take(bytes)?, num_rows, width, dtype })
    }

    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn dtype(&self) -> Float {
        self.dtype
    }

    pub(crate) fn address(&self) -> u64 {
        self.scratch.address
    }

    /// Of a host's values, for tests and for what is not made on the GPU.
    pub fn upload(session: &Session, values: &[f32], width: usize) -> Result<Self> {
        let rows = Self::new(session, values.len() / width, width, Float::F32)?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        // SAFETY: the rows have as many elements as values, less what is no whole row.
        unsafe { copy_to(&session.driver, rows.address(), &bytes[..rows.num_rows * width * 4]) }?;
        Ok(rows)
    }

    fn expect(
        &self,
        what: &'static str,
        num_rows: usize,
        width: usize,
        dtype: Float,
    ) -> Result<()> {
        if (self.num_rows, self.width, self.dtype) == (num_rows, width, dtype) {
            return Ok(());
        }
        let found = format!("[{}, {}] of {:?}", self.num_rows, self.width, self.dtype);
        Err(CudaError::shape(what, found, format!("it must be [{num_rows}, {width}] of {dtype:?}")))
    }

    /// Refuses rows that are not `[any, width]` of `f32`.
    pub(crate) fn expect_floats(&self, what: &'static str, width: usize) -> Result<()> {
        self.expect(what, self.num_rows, width, Float::F32)
    }
}

/// A norm's weights or a bias: `f32`, and stays.
#[derive(Debug)]
pub struct Vector {
    buffer: Buffer,
    len: usize,
}

impl Vector {
    pub fn new(session: &Session, values: &[f32]) -> Result<Self> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Ok(Self { buffer: Buffer::of(&session.driver, &bytes)?, len: values.len() })
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn address(&self) -> u64 {
        self.buffer.address()
    }
}

/// Cosines and sines of every position, for rope.
#[derive(Debug)]
pub struct Rotations {
    buffer: Buffer,
    pub(crate) num_positions: usize,
    /// Pairs of a head.
    pub(crate) half: usize,
    /// Pairs are neighbours, else `i` and `i + half`.
    pub(crate) adjacent: bool,
}

impl Rotations {
    /// `pairs` is `[positions, half]` of cosine and sine.
    pub fn new(session: &Session, pairs: &[[f32; 2]], half: usize, adjacent: bool) -> Result<Self> {
        let bytes: Vec<u8> = pairs.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
        let buffer = Buffer::of(&session.driver, &bytes)?;
        Ok(Self { buffer, num_positions: pairs.len() / half, half, adjacent })
    }

    pub(crate) fn address(&self) -> u64 {
        self.buffer.address()
    }

    pub fn num_positions(&self) -> usize {
        self.num_positions
    }
}

impl Session {
    /// Root mean square norm of rows of the weight's length, of which `x` is any whole number, as
    /// `dtype`. `delta`, of the same shape, is added to `x` in place before.
    pub fn rms_norm(
        &self,
        x: &Rows,
        delta: Option<&Rows>,
        weight: &Vector,
        eps: f32,
        dtype: Float,
    ) -> Result<Rows> {
        x.expect_floats("x of a norm", x.width)?;
        if !x.width.is_multiple_of(weight.len()) {
            let expected = format!("a row has {}", x.width);
            return Err(CudaError::shape("norm", weight.len(), expected));
        }
        if let Some(delta) = delta {
            delta.expect("what is added", x.num_rows, x.width, Float::F32)?;
        }
        let out = Rows::new(self, x.num_rows, x.width, dtype)?;
        let num_rows = x.num_rows * (x.width / weight.len());
        let delta = delta.map_or(0, Rows::address);
        self.norm_rows((x, delta, 0), weight, eps, (&out, num_rows))?;
        Ok(out)
    }

    /// The norm of the rows that `batch` wants.
    pub fn rms_norm_wanted(
        &self,
        x: &Rows,
        batch: &Batch,
        weight: &Vector,
        eps: f32,
        dtype: Float,
    ) -> Result<Rows> {
        x.expect("x of a norm", batch.num_rows(), weight.len(), Float::F32)?;
        let num_rows = batch.num_wanted_rows();
        let out = Rows::new(self, num_rows, x.width, dtype)?;
        self.norm_rows((x, 0, batch.wanted), weight, eps, (&out, num_rows))?;
        Ok(out)
    }

    fn norm_rows(
        &self,
        (x, delta, ids): (&Rows, u64, u64),
        weight: &Vector,
        eps: f32,
        (out, num_rows): (&Rows, usize),
    ) -> Result<()> {
        let args = RmsNormArgs {
            x: x.address(),
            delta,
            weight: weight.address(),
            ids,
            out: out.address(),
            k: weight.len() as i32,
            eps,
        };
        let threads = weight.len().next_multiple_of(32).min(NORM_THREADS);
        let name = format!("rms_norm_{}", out.dtype.suffix());
        // SAFETY: `x` and `delta` have whole rows of the weight, `out` `num_rows` of them, and ids
        // have been checked by the batch; the pool keeps its memory.
        unsafe { self.driver.launch(&name, [num_rows, 1, 1], threads, threads / 8, &args) }
    }

    /// Adds `other` to `x`, of the same shape.
    pub fn add(&self, x: &Rows, other: &Rows) -> Result<()> {
        other.expect("what is added", x.num_rows, x.width, Float::F32)?;
        self.add_in_turn(x, other.address(), x.num_rows * x.width)
    }

    pub(crate) fn add_bias(&self, x: &Rows, bias: &Vector) -> Result<()> {
        x.expect_floats("x of a bias", bias.len())?;
        self.add_in_turn(x, bias.address(), bias.len())
    }

    fn add_in_turn(&self, x: &Rows, other: u64, period: usize) -> Result<()> {
        x.expect_floats("what is added to", x.width)?;
        let len = x.num_rows * x.width;
        let (period, address) = (period as i64, x.address());
        let args = AddArgs { x: address, other, len: len as i64, period };
        // SAFETY: callers have compared both lengths.
        unsafe { self.driver.launch("add", [len.div_ceil(THREADS), 1, 1], THREADS, 0, &args) }
    }

    /// `silu(gate) * up` as `dtype`.
    pub fn silu_mul(&self, gate: &Rows, up: &Rows, dtype: Float) -> Result<Rows> {
        gate.expect_floats("gate", gate.width)?;
        up.expect("up", gate.num_rows, gate.width, Float::F32)?;
        let out = Rows::new(self, gate.num_rows, gate.width, dtype)?;
        let len = gate.num_rows * gate.width;
        let args = SiluMulArgs {
            gate: gate.address(),
            up: up.address(),
            out: out.address(),
            len: len as i64,
        };
        let name = format!("silu_mul_{}", dtype.suffix());
        // SAFETY: all three have been compared.
        unsafe { self.driver.launch(&name, [len.div_ceil(THREADS), 1, 1], THREADS, 0, &args) }?;
        Ok(out)
    }
}
