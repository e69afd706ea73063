//! Rows of activations, and operations that take them one by one.

use std::sync::atomic::Ordering;

use crate::args::{AddArgs, IntegersArgs, RmsNormArgs, SiluMulArgs};
use crate::batch::Batch;
use crate::memory::{Buffer, Scratch, copy_to};
use crate::session::Session;
use crate::{CudaError, Float, Result};

const THREADS: usize = 256;
const NORM_THREADS: usize = 1024;
/// Activations that share a scale as integers, and those of a group with a factor of its own.
const INTEGERS_BLOCK: usize = 32;
const INTEGERS_GROUP: usize = 16;

/// Of a row as integers: two for each, and two floats for each group.
pub(crate) const fn integers_bytes(width: usize) -> usize {
    2 * width + width / INTEGERS_GROUP * 8
}

/// Activations, `[num_rows, width]`.
#[derive(Debug)]
pub struct Rows {
    scratch: Scratch,
    /// The same as integers, where whoever made the rows made those too.
    pub(crate) integers: Option<Scratch>,
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
        let scratch = session.pool.take(bytes)?;
        Ok(Self { scratch, integers: None, num_rows, width, dtype })
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

    /// Makes room for the rows as integers if a product may read them so, for the kernel that makes
    /// the rows; 0 if there is none.
    pub(crate) fn add_integers(&mut self, session: &Session) -> Result<u64> {
        let is_wanted = session.wants_integers.load(Ordering::Relaxed);
        if !is_wanted || self.dtype != Float::F32 || !self.width.is_multiple_of(INTEGERS_BLOCK) {
            return Ok(0);
        }
        let integers = session.pool.take(self.num_rows * integers_bytes(self.width))?;
        Ok(self.integers.insert(integers).address)
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

    pub(crate) fn expect_len(&self, what: &'static str, len: usize) -> Result<()> {
        match self.len == len {
            true => Ok(()),
            false => Err(CudaError::shape(what, self.len, format!("it must be {len}"))),
        }
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
        let mut out = Rows::new(self, x.num_rows, x.width, dtype)?;
        // Heads are normed on the way to attention, which multiplies floats.
        let integers = if x.width == weight.len() { out.add_integers(self)? } else { 0 };
        let num_rows = x.num_rows * (x.width / weight.len());
        let delta = delta.map_or(0, Rows::address);
        self.norm_rows((x, delta, 0), weight, eps, (&out, num_rows, integers))?;
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
        let mut out = Rows::new(self, num_rows, x.width, dtype)?;
        let integers = out.add_integers(self)?;
        self.norm_rows((x, 0, batch.wanted), weight, eps, (&out, num_rows, integers))?;
        Ok(out)
    }

    fn norm_rows(
        &self,
        (x, delta, ids): (&Rows, u64, u64),
        weight: &Vector,
        eps: f32,
        (out, num_rows, integers): (&Rows, usize, u64),
    ) -> Result<()> {
        let args = RmsNormArgs {
            x: x.address(),
            delta,
            weight: weight.address(),
            ids,
            out: out.address(),
            integers,
            k: weight.len() as i32,
            eps,
        };
        let threads = weight.len().next_multiple_of(32).min(NORM_THREADS);
        let name = format!("rms_norm_{}", out.dtype.suffix());
        // SAFETY: `x` and `delta` have whole rows of the weight, `out` `num_rows` of them, and ids
        // have been checked by the batch; the pool keeps its memory.
        unsafe { self.driver.launch(&name, [num_rows, 1, 1], threads, threads / 8, &args) }
    }

    /// `x` as integers.
    pub(crate) fn make_integers(&self, x: &Rows) -> Result<Scratch> {
        x.expect_floats("what is to be integers", x.width)?;
        assert!(x.width.is_multiple_of(INTEGERS_BLOCK), "formats of blocks are asked for");
        let out = self.pool.take(x.num_rows * integers_bytes(x.width))?;
        let args = IntegersArgs {
            x: x.address(),
            out: out.address,
            num_rows: x.num_rows as i64,
            k: x.width as i32,
            reserved: 0,
        };
        let warps = x.num_rows * (x.width / INTEGERS_BLOCK);
        let grid = [warps.div_ceil(THREADS / 64), 1, 1];
        // SAFETY: a warp makes a block of integers of one of `x`, and there is room for all.
        unsafe { self.driver.launch("integers", grid, THREADS / 2, 0, &args) }?;
        Ok(out)
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
