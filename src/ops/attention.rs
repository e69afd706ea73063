//! Attention over the paged KV cache, and writing to it.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, InplaceOp2, Layout, Result, Shape, Tensor, bail};
use kernels::{
    AttendArgs, AttendRowsArgs, BLOCK_LEN, BlockFormat, KernelTable, KvElements, KvShape,
    PARTITION, Partials, Slot, UnpackArgs, merge_partials, partial_len,
};

use super::parallel::{for_each_chunk, num_threads, rows_per_chunk};
use super::profile::timed;
use super::storage::{f32_slice, floats, floats_mut};

/// The rows of a step as the cache sees them.
#[derive(Debug, Clone)]
pub struct PagedBatch {
    /// Where each row's key and value go.
    slots: Vec<Slot>,
    seqs: Vec<PagedSeq>,
}

/// A sequence's rows, which are the last ones of its context.
#[derive(Debug, Clone)]
pub struct PagedSeq {
    /// Rows `[start, end)` of the step.
    pub rows: Range<usize>,
    /// Positions whose keys and values exist once this step's are written.
    pub context_len: usize,
    /// `block_table[p / block_size]` holds position `p`.
    pub block_table: Arc<[u32]>,
}

impl PagedSeq {
    /// Positions that `row` attends to are `[0, end)`.
    fn context_end(&self, row: usize) -> usize {
        self.context_len - (self.rows.end - 1 - row)
    }
}

impl PagedBatch {
    /// Panics unless the sequences tile the rows in order, each with a context that holds its rows
    /// and a table that holds its context.
    pub fn new(seqs: Vec<PagedSeq>, block_size: usize) -> Self {
        let mut slots = Vec::with_capacity(seqs.last().map_or(0, |seq| seq.rows.end));
        for seq in &seqs {
            assert_eq!(seq.rows.start, slots.len(), "sequences tile the rows in order");
            assert!(seq.rows.len() <= seq.context_len, "a context holds its rows");
            let num_blocks = seq.context_len.div_ceil(block_size);
            assert!(num_blocks <= seq.block_table.len(), "a block table holds its context");
            for position in seq.context_len - seq.rows.len()..seq.context_len {
                let block_id = u64::from(seq.block_table[position / block_size]);
                slots.push(block_id * block_size as u64 + (position % block_size) as u64);
            }
        }
        Self { slots, seqs }
    }

    pub fn num_rows(&self) -> usize {
        self.slots.len()
    }
}

fn kv_shape(cache: &CpuStorage, layout: &Layout) -> Result<KvShape> {
    let (num_blocks, num_kv_heads, block_size, head_len) = layout.shape().dims4()?;
    let head_dim = match cache {
        CpuStorage::U8(_) => head_len / BlockFormat::Q8_0.block_bytes() * BLOCK_LEN,
        _ => head_len,
    };
    Ok(KvShape { num_blocks, num_kv_heads, block_size, head_dim })
}

/// Stores `rows`, `[num_rows, num_kv_heads * head_dim]`, in the batch's slots of `cache`,
/// `[num_blocks, num_kv_heads, block_size, head_dim]`, or the bytes of as many elements in Q8_0.
pub fn write_kv(cache: &Tensor, rows: &Tensor, batch: &PagedBatch) -> Result<()> {
    timed(
        || "writing keys and values",
        || cache.inplace_op2(rows, &WriteKv { slots: &batch.slots }),
    )
}

struct WriteKv<'a> {
    slots: &'a [Slot],
}

impl InplaceOp2 for WriteKv<'_> {
    fn name(&self) -> &'static str {
        "write-kv"
    }

    fn cpu_fwd(
        &self,
        cache: &mut CpuStorage,
        cache_layout: &Layout,
        rows: &CpuStorage,
        rows_layout: &Layout,
    ) -> Result<()> {
        let rows = f32_slice(rows, rows_layout)?;
        let shape = kv_shape(cache, cache_layout)?;
        match (cache, cache_layout.contiguous_offsets()) {
            (CpuStorage::U8(bytes), Some((start, end))) => {
                let (blocks, _) = bytes[start..end].as_chunks_mut();
                kernels::write_kv_q8_0(&shape, blocks, rows, self.slots);
            }
            (cache, _) => {
                let mut cache = floats_mut(cache, cache_layout)?;
                kernels::write_kv(&shape, &mut cache, rows, self.slots);
            }
        }
        Ok(())
    }
}

/// Causal attention of `queries`, `[num_rows, num_heads * head_dim]`, over the cache, in which the
/// step's own keys and values already are.
pub fn paged_attention(
    queries: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    batch: &PagedBatch,
) -> Result<Tensor> {
    timed(|| "attention", || queries.apply_op3_no_bwd(keys, values, &Attention { batch }))
}

struct Attention<'a> {
    batch: &'a PagedBatch,
}

impl CustomOp3 for Attention<'_> {
    fn name(&self) -> &'static str {
        "paged-attention"
    }

    fn cpu_fwd(
        &self,
        queries: &CpuStorage,
        queries_layout: &Layout,
        keys: &CpuStorage,
        keys_layout: &Layout,
        values: &CpuStorage,
        values_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let shape = kv_shape(keys, keys_layout)?;
        let (num_rows, row_len) = queries_layout.shape().dims2()?;
        let kv_row_len = shape.num_kv_heads * shape.head_dim;
        if num_rows != self.batch.num_rows() || !row_len.is_multiple_of(kv_row_len) {
            bail!("queries {:?} do not fit the batch", queries_layout.shape())
        }
        let cpu = CpuAttention {
            table: KernelTable::detect(),
            seqs: &self.batch.seqs,
            shape,
            keys: kv_elements(keys, keys_layout)?,
            values: kv_elements(values, values_layout)?,
            queries: f32_slice(queries, queries_layout)?,
            row_len,
            group: row_len / kv_row_len,
        };
        Ok((CpuStorage::F32(cpu.run(num_rows)), Shape::from((num_rows, row_len))))
    }
}

/// A layer's keys or values: floats, or bytes that are blocks of Q8_0.
fn kv_elements<'a>(cache: &'a CpuStorage, layout: &Layout) -> Result<KvElements<'a>> {
    match (cache, layout.contiguous_offsets()) {
        (CpuStorage::U8(bytes), Some((start, end))) => {
            Ok(KvElements::Q8_0(bytes[start..end].as_chunks().0))
        }
        _ => Ok(KvElements::Floats(floats(cache, layout)?)),
    }
}

struct CpuAttention<'a> {
    table: &'static KernelTable,
    seqs: &'a [PagedSeq],
    shape: KvShape,
    keys: KvElements<'a>,
    values: KvElements<'a>,
    queries: &'a [f32],
    row_len: usize,
    /// Query heads that share a KV head.
    group: usize,
}

/// Some rows of one sequence. Its items are `[num_kv_heads, num_parts, rows]`, so that threads
/// which take neighbouring items read the same keys.
struct Slab<'a> {
    seq: &'a PagedSeq,
    rows: Range<usize>,
    num_parts: usize,
    first_item: usize,
}

/// Rows of a slab with one head and one partition, neighbouring items.
struct Run {
    rows: Range<usize>,
    part: usize,
    kv_head: usize,
}

impl Slab<'_> {
    fn num_items(&self, num_kv_heads: usize) -> usize {
        num_kv_heads * self.num_parts * self.rows.len()
    }

    /// The items from `item` on that have its head and partition, at most `max`.
    fn run(&self, item: usize, max: usize) -> Run {
        let num_rows = self.rows.len();
        let first = self.rows.start + item % num_rows;
        Run {
            rows: first..self.rows.end.min(first + max),
            part: item / num_rows % self.num_parts,
            kv_head: item / num_rows / self.num_parts,
        }
    }
}

/// From so many rows of a sequence on, keys and values are unpacked for all of them.
const ROWS_TOGETHER: usize = 3;

/// Elements of partial results that are kept between computing and merging them, 8 MiB. One row is
/// computed whole even where it needs more.
const PARTIALS_LEN: usize = 2 << 20;

thread_local! {
    static PARTIALS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    static UNPACKED: RefCell<Unpacked> = const { RefCell::new(Unpacked::new()) };
}

/// Keys and values of one partition as floats, for all rows of a slab that a thread takes in turn.
struct Unpacked {
    /// First item of the slab, partition and head.
    of: Option<(usize, usize, usize)>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Unpacked {
    const fn new() -> Self {
        Self { of: None, keys: Vec::new(), values: Vec::new() }
    }
}

impl<'a> CpuAttention<'a> {
    fn run(&self, num_rows: usize) -> Vec<f32> {
        let mut out = vec![0f32; num_rows * self.row_len];
        let mut done = 0;
        PARTIALS.with_borrow_mut(|partials| {
            while done < num_rows {
                let slabs = self.wave(done);
                let end = slabs.last().map_or(num_rows, |slab| slab.rows.end);
                let out = &mut out[done * self.row_len..end * self.row_len];
                self.compute(&slabs, partials);
                self.merge(&slabs, partials, out);
                done = end;
            }
        });
        out
    }

    fn partial_len(&self) -> usize {
        partial_len(self.group, self.shape.head_dim)
    }

    /// Rows from `first_row` on whose partial results fit the buffer together, at least one.
    fn wave(&self, first_row: usize) -> Vec<Slab<'a>> {
        let budget = PARTIALS_LEN / self.partial_len();
        let mut slabs = Vec::new();
        let mut num_items = 0;
        for seq in self.seqs.iter().filter(|seq| seq.rows.end > first_row) {
            let start = first_row.max(seq.rows.start);
            let parts_max = seq.context_len.div_ceil(PARTITION);
            let room = (budget - num_items) / (parts_max * self.shape.num_kv_heads);
            let room = if num_items == 0 { room.max(1) } else { room };
            let rows = start..seq.rows.end.min(start + room);
            if rows.is_empty() {
                break;
            }
            let num_parts = seq.context_end(rows.end - 1).div_ceil(PARTITION);
            let complete = rows.end == seq.rows.end;
            let slab = Slab { seq, rows, num_parts, first_item: num_items };
            num_items += slab.num_items(self.shape.num_kv_heads);
            slabs.push(slab);
            if !complete || num_items >= budget {
                break;
            }
        }
        slabs
    }

    fn compute(&self, slabs: &[Slab<'_>], partials: &mut Vec<f32>) {
        let len = self.partial_len();
        let num_kv_heads = self.shape.num_kv_heads;
        let num_items =
            slabs.last().map_or(0, |slab| slab.first_item + slab.num_items(num_kv_heads));
        if partials.len() < num_items * len {
            partials.resize(num_items * len, 0.0);
        }
        // About eight turns per thread even out what the causal mask leaves uneven.
        let chunk_items = num_items.div_ceil(num_threads() * 8).max(1);
        for_each_chunk(&mut partials[..num_items * len], chunk_items * len, |index, chunk| {
            UNPACKED.with_borrow_mut(|unpacked| {
                // What was kept of another step or layer is of no use.
                unpacked.of = None;
                let mut item = index * chunk_items;
                let mut rest = chunk;
                while !rest.is_empty() {
                    let slab = &slabs[slabs.partition_point(|slab| slab.first_item <= item) - 1];
                    let run = slab.run(item - slab.first_item, rest.len() / len);
                    let (partials, behind) = rest.split_at_mut(run.rows.len() * len);
                    (rest, item) = (behind, item + run.rows.len());
                    self.compute_run(slab, run, unpacked, partials);
                }
            });
        });
    }

    /// Rows that do not reach the partition get nothing.
    fn compute_run(
        &self,
        slab: &Slab<'_>,
        run: Run,
        unpacked: &mut Unpacked,
        partials: &mut [f32],
    ) {
        let (len, start) = (self.partial_len(), run.part * PARTITION);
        let reaches = |row: &usize| slab.seq.context_end(*row) > start;
        let Some(first_row) = run.rows.clone().find(reaches) else { return };
        let partials = &mut partials[(first_row - run.rows.start) * len..];
        let num_queries = self.group * self.shape.head_dim;
        let first_query = |row: usize| row * self.row_len + run.kv_head * num_queries;
        let scale = 1.0 / (self.shape.head_dim as f32).sqrt();
        let num_rows = run.rows.end - first_row;
        if num_rows < ROWS_TOGETHER {
            for (row, partial) in (first_row..).zip(partials.chunks_exact_mut(len)) {
                let args = AttendArgs {
                    shape: self.shape,
                    keys: self.keys,
                    values: self.values,
                    block_table: &slab.seq.block_table,
                    kv_head: run.kv_head,
                    queries: &self.queries[first_query(row)..][..num_queries],
                    num_heads: self.group,
                    start,
                    end: slab.seq.context_end(row).min(start + PARTITION),
                    scale,
                };
                self.table.attend(&args, partial);
            }
            return;
        }
        self.unpack(slab, &run, unpacked);
        let args = AttendRowsArgs {
            head_dim: self.shape.head_dim,
            keys: &unpacked.keys,
            values: &unpacked.values,
            queries: &self.queries[first_query(first_row)..],
            row_len: self.row_len,
            num_rows,
            num_heads: self.group,
            first_end: (slab.seq.context_end(first_row) - start).min(PARTITION),
            scale,
        };
        self.table.attend_rows(&args, partials);
    }

    /// Unpacks what any row of the slab attends to of a partition, if it is not there already.
    fn unpack(&self, slab: &Slab<'_>, run: &Run, unpacked: &mut Unpacked) {
        let of = Some((slab.first_item, run.part, run.kv_head));
        if unpacked.of == of {
            return;
        }
        let start = run.part * PARTITION;
        let end = slab.seq.context_end(slab.rows.end - 1).min(start + PARTITION);
        for (cache, out) in [(self.keys, &mut unpacked.keys), (self.values, &mut unpacked.values)] {
            out.resize(PARTITION * self.shape.head_dim, 0.0);
            let args = UnpackArgs {
                shape: self.shape,
                cache,
                block_table: &slab.seq.block_table,
                kv_head: run.kv_head,
                start,
                end,
            };
            self.table.unpack_kv(&args, out);
        }
        unpacked.of = of;
    }

    fn merge(&self, slabs: &[Slab<'_>], partials: &[f32], out: &mut [f32]) {
        let Some(first_row) = slabs.first().map(|slab| slab.rows.start) else { return };
        let chunk_rows = rows_per_chunk(self.row_len);
        let num_values = self.group * self.shape.head_dim;
        for_each_chunk(out, chunk_rows * self.row_len, |index, rows| {
            let first_row = first_row + index * chunk_rows;
            for (row, out) in (first_row..).zip(rows.chunks_exact_mut(self.row_len)) {
                let slab = &slabs[slabs.partition_point(|slab| slab.rows.start <= row) - 1];
                let num_rows = slab.rows.len();
                for (kv_head, out) in out.chunks_exact_mut(num_values).enumerate() {
                    let item = kv_head * slab.num_parts * num_rows + row - slab.rows.start;
                    let partials = Partials {
                        buffer: partials,
                        first: slab.first_item + item,
                        stride: num_rows,
                        count: slab.seq.context_end(row).div_ceil(PARTITION),
                        num_heads: self.group,
                        head_dim: self.shape.head_dim,
                    };
                    merge_partials(&partials, out);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    const BLOCK_SIZE: usize = 16;
    const HEAD_DIM: usize = 64;
    const NUM_KV_HEADS: usize = 2;
    const NUM_HEADS: usize = 16;

    fn random(shape: impl Into<Shape>) -> Tensor {
        Tensor::randn(0f32, 1f32, shape, &Device::Cpu).unwrap()
    }

    fn cache(num_blocks: usize) -> Tensor {
        random((num_blocks, NUM_KV_HEADS, BLOCK_SIZE, HEAD_DIM)).to_dtype(DType::F16).unwrap()
    }

    fn seq(rows: Range<usize>, context_len: usize, first_block: u32) -> PagedSeq {
        let num_blocks = context_len.div_ceil(BLOCK_SIZE) as u32;
        PagedSeq {
            rows,
            context_len,
            block_table: (first_block..first_block + num_blocks).collect(),
        }
    }

    /// More partial results than fit their buffer, so that the step is computed in waves which cut
    /// through sequences.
    #[test]
    fn waves_give_each_row_the_bits_of_a_row_alone() {
        let (keys, values) = (cache(128), cache(128));
        let seqs = vec![seq(0..1, 600, 0), seq(1..731, 730, 40), seq(731..733, 300, 90)];
        let batch = PagedBatch::new(seqs.clone(), BLOCK_SIZE);
        let queries = random((batch.num_rows(), NUM_HEADS * HEAD_DIM));
        let num_items = 730 * NUM_KV_HEADS * 730usize.div_ceil(PARTITION);
        assert!(num_items * partial_len(NUM_HEADS / NUM_KV_HEADS, HEAD_DIM) > PARTIALS_LEN);
        let together = paged_attention(&queries, &keys, &values, &batch).unwrap();
        let together = together.to_vec2::<f32>().unwrap();
        for row in [0, 1, 2, 255, 256, 257, 500, 660, 729, 730, 731, 732] {
            let owner = seqs.iter().find(|seq| seq.rows.contains(&row)).unwrap();
            let alone = PagedSeq {
                rows: 0..1,
                context_len: owner.context_end(row),
                block_table: Arc::clone(&owner.block_table),
            };
            let alone = PagedBatch::new(vec![alone], BLOCK_SIZE);
            let query = queries.narrow(0, row, 1).unwrap();
            let found = paged_attention(&query, &keys, &values, &alone).unwrap();
            assert!(found.to_vec2::<f32>().unwrap()[0] == together[row], "row {row}");
        }
    }

    #[test]
    fn rows_are_written_to_the_slots_of_their_positions() {
        let keys = Tensor::zeros((4, 1, BLOCK_SIZE, 8), DType::F32, &Device::Cpu).unwrap();
        let seq = PagedSeq { rows: 0..2, context_len: 17, block_table: vec![3, 1].into() };
        let batch = PagedBatch::new(vec![seq], BLOCK_SIZE);
        let rows = Tensor::arange(1f32, 17f32, &Device::Cpu).unwrap().reshape((2, 8)).unwrap();
        write_kv(&keys, &rows, &batch).unwrap();
        let written = keys.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let at = |block: usize, offset: usize| (block * BLOCK_SIZE + offset) * 8;
        assert_eq!(written[at(3, 15)..at(3, 16)], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        assert_eq!(written[at(1, 0)], 9.0);
        assert_eq!(written.iter().filter(|&&value| value != 0.0).count(), 16);
    }

    #[test]
    #[should_panic(expected = "a block table holds its context")]
    fn a_block_table_that_is_too_short_is_refused() {
        PagedBatch::new(
            vec![PagedSeq { rows: 0..1, context_len: 17, block_table: vec![0].into() }],
            BLOCK_SIZE,
        );
    }

    #[test]
    fn queries_that_do_not_fit_the_batch_are_an_error() {
        let (keys, values) = (cache(4), cache(4));
        let batch = PagedBatch::new(vec![seq(0..1, 5, 0)], BLOCK_SIZE);
        let queries = random((2, NUM_HEADS * HEAD_DIM));
        assert!(paged_attention(&queries, &keys, &values, &batch).is_err());
    }
}
