//! The paged KV cache, writing to it, and attention over it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::args::{AttentionArgs, RopeWriteArgs};
use crate::batch::Batch;
use crate::memory::Buffer;
use crate::rows::{Rotations, Rows};
use crate::session::Session;
use crate::{CudaError, Float, Result};

const THREADS: usize = 128;
/// Positions in shared memory at a time.
const TILE: usize = 64;
/// Rows of a decode tile.
const ROWS: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    pub num_blocks: usize,
    pub num_kv_heads: usize,
    pub block_size: usize,
    pub head_dim: usize,
}

impl KvShape {
    fn len(&self) -> usize {
        self.num_blocks * self.num_kv_heads * self.block_size * self.head_dim
    }
}

/// Keys and values of a layer, each `[num_blocks, num_kv_heads, block_size, head_dim]`.
#[derive(Debug)]
pub struct KvLayer {
    keys: Buffer,
    values: Buffer,
    shape: KvShape,
    dtype: Float,
    id: u64,
}

impl KvLayer {
    /// Zeros, of `f16` or `bf16`.
    pub fn new(session: &Session, shape: KvShape, dtype: Float) -> Result<Self> {
        if ![64, 128].contains(&shape.head_dim) {
            let expected = "kernels are for heads of 64 and of 128";
            return Err(CudaError::shape("head_dim", shape.head_dim, expected));
        }
        match dtype {
            Float::F16 => {}
            Float::Bf16 if session.has_bf16() => {}
            Float::Bf16 => {
                let expected = "this GPU multiplies f16 only (compute capability 8.0 does bf16)";
                return Err(CudaError::shape("type of keys and values", "bf16", expected));
            }
            Float::F32 => {
                let expected = "a GPU keeps f16 or bf16";
                return Err(CudaError::shape("type of keys and values", "f32", expected));
            }
        }
        let bytes = shape.len() * dtype.bytes();
        let (keys, values) =
            (Buffer::new(&session.driver, bytes)?, Buffer::new(&session.driver, bytes)?);
        keys.clear()?;
        values.clear()?;
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Self { keys, values, shape, dtype, id })
    }

    /// Tells this layer from every other one that there was or will be. Its address does not:
    /// memory that is freed is allocated again.
    pub fn id(&self) -> u64 {
        self.id
    }

    fn suffix(&self) -> &'static str {
        self.dtype.suffix()
    }
}

impl Session {
    /// Rotates `queries` in place, and writes `keys`, rotated, and `values` to the batch's slots.
    pub fn rope_write(
        &self,
        [queries, keys, values]: [&Rows; 3],
        rotations: &Rotations,
        batch: &Batch,
        kv: &KvLayer,
    ) -> Result<()> {
        let shape = &kv.shape;
        let num_heads = heads_of(queries, shape)?;
        let kv_width = shape.num_kv_heads * shape.head_dim;
        keys.expect_floats("keys", kv_width)?;
        values.expect_floats("values", kv_width)?;
        self.expect_batch(batch, shape)?;
        if rotations.num_positions < batch.limits.num_positions {
            let expected = format!("rotations are for {}", rotations.num_positions);
            return Err(CudaError::shape("positions", batch.limits.num_positions, expected));
        }
        let counts = [queries.num_rows(), keys.num_rows(), values.num_rows()];
        if counts != [batch.num_rows(); 3] || rotations.half * 2 != shape.head_dim {
            let expected = format!("{} of heads of {}", batch.num_rows(), rotations.half * 2);
            return Err(CudaError::shape("rows of a step", format!("{counts:?}"), expected));
        }
        let args = RopeWriteArgs {
            queries: queries.address(),
            keys: keys.address(),
            values: values.address(),
            rotations: rotations.address(),
            positions: batch.positions,
            slots: batch.slots,
            key_cache: kv.keys.address(),
            value_cache: kv.values.address(),
            num_heads: num_heads as i32,
            num_kv_heads: shape.num_kv_heads as i32,
            head_dim: shape.head_dim as i32,
            block_size: shape.block_size as i32,
            adjacent: i32::from(rotations.adjacent),
            reserved: 0,
        };
        let name = format!("rope_write_{}", kv.suffix());
        let pairs = (num_heads + 2 * shape.num_kv_heads) * (shape.head_dim / 2);
        let grid = [batch.num_rows(), pairs.div_ceil(THREADS), 1];
        // SAFETY: rows have been compared; slots and positions were when the batch was made.
        unsafe { self.driver.launch(&name, grid, THREADS, 0, &args) }
    }

    /// Causal attention of `queries`, `[num_rows, num_heads * head_dim]`, over the cache, in which
    /// the step's own keys and values already are; as `dtype`.
    pub fn attention(
        &self,
        queries: &Rows,
        batch: &Batch,
        kv: &KvLayer,
        dtype: Float,
    ) -> Result<Rows> {
        let shape = &kv.shape;
        let num_heads = heads_of(queries, shape)?;
        if queries.num_rows() != batch.num_rows() {
            let expected = format!("the batch has {}", batch.num_rows());
            return Err(CudaError::shape("rows of queries", queries.num_rows(), expected));
        }
        self.expect_batch(batch, shape)?;
        let mut out = Rows::new(self, queries.num_rows(), queries.width(), dtype)?;
        // Prompts' kernels make floats only.
        let integers = if batch.num_prefill_tiles == 0 { out.add_integers(self)? } else { 0 };
        let decode_grid = [batch.num_decode_tiles, shape.num_kv_heads, batch.num_splits];
        let part_bytes = ROWS * (shape.head_dim + 2) * 4;
        let partials = self.pool.take(decode_grid.iter().product::<usize>() * part_bytes)?;
        let args = AttentionArgs {
            queries: queries.address(),
            keys: kv.keys.address(),
            values: kv.values.address(),
            seqs: batch.seqs,
            tiles: batch.decode_tiles,
            tables: batch.tables,
            out: out.address(),
            partials: partials.address,
            integers,
            num_heads: num_heads as i32,
            num_kv_heads: shape.num_kv_heads as i32,
            block_size: shape.block_size as i32,
            num_splits: batch.num_splits as i32,
            scale: std::f32::consts::LOG2_E / (shape.head_dim as f32).sqrt(),
            out_type: dtype.code(),
        };
        let (suffix, head_dim) = (kv.suffix(), shape.head_dim);
        // Keys and values of a tile; 16 bytes behind each row keep banks apart.
        let shared_bytes = 2 * TILE * (head_dim + 8) * 2;
        let decode = format!("attention_decode_{suffix}_{head_dim}");
        let merge = format!("attention_merge_{head_dim}");
        let merge_grid = [batch.num_decode_tiles, shape.num_kv_heads, ROWS];
        let prefill = format!("attention_prefill_{suffix}_{head_dim}");
        let prefill_grid = [batch.num_prefill_tiles, shape.num_kv_heads, 1];
        let prefill_args = AttentionArgs { tiles: batch.prefill_tiles, ..args };
        // SAFETY: queries and cache have been compared; tiles and tables were made of the batch's
        // sequences, whose blocks are in the cache; there is a part for each block of the grid.
        unsafe {
            self.driver.launch(&decode, decode_grid, THREADS, shared_bytes, &args)?;
            self.driver.launch(&merge, merge_grid, head_dim, 0, &args)?;
            self.driver.launch(&prefill, prefill_grid, THREADS, shared_bytes, &prefill_args)?;
        }
        Ok(out)
    }

    /// Whether the batch's blocks are blocks of such a cache.
    fn expect_batch(&self, batch: &Batch, shape: &KvShape) -> Result<()> {
        let limits = &batch.limits;
        if (limits.block_size, limits.num_blocks) == (shape.block_size, shape.num_blocks) {
            return Ok(());
        }
        let found = format!("{} of {}", limits.num_blocks, limits.block_size);
        let expected = format!("the cache has {} of {}", shape.num_blocks, shape.block_size);
        Err(CudaError::shape("blocks of a batch", found, expected))
    }
}

fn heads_of(queries: &Rows, shape: &KvShape) -> Result<usize> {
    let kv_width = shape.num_kv_heads * shape.head_dim;
    queries.expect_floats("queries", queries.width())?;
    if !queries.width().is_multiple_of(kv_width) {
        let expected = format!("groups of heads are {kv_width} wide");
        return Err(CudaError::shape("queries", queries.width(), expected));
    }
    Ok(queries.width() / shape.head_dim)
}
