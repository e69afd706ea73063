//! What a step's kernels read beside weights and activations: ids, positions, slots, block tables.

use crate::memory::Upload;
use crate::session::Session;
use crate::{CudaError, Result};

/// Sequences of a decode step that is captured. Others are launched kernel by kernel.
const GRAPH_SEQS_MAX: usize = 256;
/// Rows `m` of a tile: of a decode kernel, and of a prefill kernel.
const DECODE_ROWS: usize = 16;
const PREFILL_ROWS: usize = 64;
/// Up to here, sequences of few rows share the context among blocks.
const DECODE_TILES_MAX: usize = 4;
const SPLITS_MAX: usize = 64;
/// Blocks of a decode kernel that a multiprocessor has room for.
const DECODE_BLOCKS: usize = 3;

/// Rows of a step that belong to one sequence, the last ones of its context.
#[derive(Debug, Clone, Copy)]
pub struct BatchSeq<'a> {
    pub num_rows: usize,
    pub context_len: usize,
    pub block_table: &'a [u32],
}

#[derive(Debug, Clone, Copy)]
pub struct BatchSpec<'a> {
    pub token_ids: &'a [u32],
    pub positions: &'a [u32],
    /// They tile the rows in order.
    pub seqs: &'a [BatchSeq<'a>],
    /// Rows whose results are wanted.
    pub wanted: &'a [u32],
    pub block_size: usize,
    pub num_blocks: usize,
    pub num_heads: usize,
    pub num_kv_heads: usize,
    /// What token ids are below.
    pub vocab_size: usize,
    /// What positions are below.
    pub num_positions: usize,
}

/// A step's metadata on the GPU, valid until the next one's is made.
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    pub(crate) num_rows: usize,
    num_wanted: usize,
    num_wanted_rows: usize,
    pub(crate) num_decode_tiles: usize,
    pub(crate) num_prefill_tiles: usize,
    pub(crate) num_splits: usize,
    pub(crate) token_ids: u64,
    pub(crate) positions: u64,
    pub(crate) slots: u64,
    pub(crate) wanted: u64,
    pub(crate) seqs: u64,
    pub(crate) decode_tiles: u64,
    pub(crate) prefill_tiles: u64,
    pub(crate) tables: u64,
    is_decode: bool,
    /// Of the buffer that all of this is in.
    base: u64,
    /// What indices have been found to be below.
    pub(crate) limits: Limits,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) block_size: usize,
    pub(crate) num_blocks: usize,
    pub(crate) vocab_size: usize,
    pub(crate) num_positions: usize,
}

/// Steps with the same key have the same launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct GraphKey {
    num_rows: usize,
    metadata: u64,
    cache: u64,
}

impl GraphKey {
    /// Whether both can be of use: they read the same buffers.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        (self.metadata, self.cache) == (other.metadata, other.cache)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Metadata {
    words: Vec<i32>,
    upload: Upload,
}

impl Batch {
    /// Rows that a step has on the GPU: a decode step is filled up to one of few sizes.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    pub fn num_wanted(&self) -> usize {
        self.num_wanted
    }

    /// Rows that are made of those that are wanted: a decode step makes what fills it up as well.
    pub fn num_wanted_rows(&self) -> usize {
        self.num_wanted_rows
    }

    pub(crate) fn graph_key(&self, cache: u64) -> Option<GraphKey> {
        self.is_decode.then_some(GraphKey { num_rows: self.num_rows, metadata: self.base, cache })
    }

    /// Waits for nothing; the step before has been waited for.
    pub fn new(session: &Session, spec: &BatchSpec<'_>) -> Result<Self> {
        check_spec(spec)?;
        let mut metadata =
            session.metadata.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let Metadata { words, upload } = &mut *metadata;
        words.clear();
        let layout = Layout::write(spec, session, words);
        let base = upload.begin(&session.driver, words)?;
        let limits = Limits {
            block_size: spec.block_size,
            num_blocks: spec.num_blocks,
            vocab_size: spec.vocab_size,
            num_positions: spec.num_positions,
        };
        Ok(layout.at(base, spec.wanted.len(), limits))
    }
}

/// Whether indices stay within what they index, which kernels do not look at.
fn check_spec(spec: &BatchSpec<'_>) -> Result<()> {
    let num_rows: usize = spec.seqs.iter().map(|seq| seq.num_rows).sum();
    let lengths = [spec.token_ids.len(), spec.positions.len()];
    if lengths != [num_rows; 2] || num_rows == 0 {
        return Err(CudaError::shape("rows", format!("{lengths:?}"), format!("{num_rows} rows")));
    }
    let is_below = |values: &[u32], limit: usize| values.iter().all(|&x| (x as usize) < limit);
    if !is_below(spec.token_ids, spec.vocab_size) {
        let expected = format!("they are below {}", spec.vocab_size);
        return Err(CudaError::shape("token ids", format!("{:?}", spec.token_ids), expected));
    }
    if !is_below(spec.positions, spec.num_positions) {
        let expected = format!("they are below {}", spec.num_positions);
        return Err(CudaError::shape("positions", format!("{:?}", spec.positions), expected));
    }
    for seq in spec.seqs {
        let blocks = seq.context_len.div_ceil(spec.block_size);
        let table = seq.block_table.get(..blocks).unwrap_or_default();
        let is_inside = table.iter().all(|&block| (block as usize) < spec.num_blocks);
        if seq.num_rows > seq.context_len || table.len() < blocks || !is_inside {
            let expected = format!("its table names blocks of {}", spec.num_blocks);
            return Err(CudaError::shape("context", seq.context_len, expected));
        }
    }
    match spec.wanted.iter().find(|&&row| row as usize >= num_rows) {
        Some(row) => Err(CudaError::shape("wanted row", row, format!("there are {num_rows}"))),
        None => Ok(()),
    }
}

/// Where each part begins, in words.
struct Layout {
    num_rows: usize,
    num_wanted_rows: usize,
    num_decode_tiles: usize,
    num_prefill_tiles: usize,
    num_splits: usize,
    is_decode: bool,
    starts: [usize; 8],
}

impl Layout {
    fn write(spec: &BatchSpec<'_>, session: &Session, words: &mut Vec<i32>) -> Self {
        let num_rows = spec.token_ids.len();
        let each = |row: usize| spec.wanted.get(row) == Some(&(row as u32));
        let is_decode = spec.seqs.iter().all(|seq| seq.num_rows == 1)
            && spec.wanted.len() == num_rows
            && (0..num_rows).all(each)
            && num_rows <= GRAPH_SEQS_MAX;
        // A captured step has one of few sizes; what fills it up has no context and is not read.
        let padded = if is_decode { graph_size(num_rows) } else { num_rows };
        let filler = padded - num_rows;
        let mut starts = [0; 8];
        for seq in spec.seqs {
            for position in seq.context_len - seq.num_rows..seq.context_len {
                let block = i64::from(seq.block_table[position / spec.block_size]);
                let slot = block * spec.block_size as i64 + (position % spec.block_size) as i64;
                words.extend([slot as i32, (slot >> 32) as i32]);
            }
        }
        words.extend(std::iter::repeat_n(-1, 2 * filler));
        let mut part =
            |index: usize, words: &mut Vec<i32>, values: &mut dyn Iterator<Item = i32>| {
                starts[index] = words.len();
                words.extend(values);
                // Pairs and quadruples are read at once.
                words.resize(words.len().next_multiple_of(4), 0);
            };
        let zeros = || std::iter::repeat_n(0, filler);
        let of = |values: &[u32]| values.iter().map(|&value| value as i32).collect::<Vec<_>>();
        part(0, words, &mut std::iter::empty());
        part(1, words, &mut of(spec.token_ids).into_iter().chain(zeros()));
        part(2, words, &mut of(spec.positions).into_iter().chain(zeros()));
        let fillers = (num_rows..padded).map(|row| row as i32);
        part(3, words, &mut of(spec.wanted).into_iter().chain(fillers));
        part(4, words, &mut seq_words(spec, filler).into_iter());
        let (decode, prefill) = tiles(spec, filler);
        part(5, words, &mut decode.iter().flatten().copied());
        part(6, words, &mut prefill.iter().flatten().copied());
        let tables = spec.seqs.iter().flat_map(|seq| &seq.block_table[..blocks_of(seq, spec)]);
        part(7, words, &mut tables.map(|&block| block as i32));
        let blocks = decode.len() * spec.num_kv_heads;
        let places = DECODE_BLOCKS * session.driver.facts.num_multiprocessors;
        starts[0] = 0;
        Self {
            num_rows: padded,
            num_wanted_rows: spec.wanted.len() + if is_decode { filler } else { 0 },
            num_decode_tiles: decode.len(),
            num_prefill_tiles: prefill.len(),
            num_splits: num_splits(blocks, places),
            is_decode,
            starts,
        }
    }

    fn at(&self, base: u64, num_wanted: usize, limits: Limits) -> Batch {
        let [slots, token_ids, positions, wanted, seqs, decode_tiles, prefill_tiles, tables] =
            self.starts.map(|start| base + 4 * start as u64);
        Batch {
            num_rows: self.num_rows,
            num_wanted,
            num_wanted_rows: self.num_wanted_rows,
            num_decode_tiles: self.num_decode_tiles,
            num_prefill_tiles: self.num_prefill_tiles,
            num_splits: self.num_splits,
            token_ids,
            positions,
            slots,
            wanted,
            seqs,
            decode_tiles,
            prefill_tiles,
            tables,
            is_decode: self.is_decode,
            base,
            limits,
        }
    }
}

/// In how many parts each of `blocks` goes over its context, where so many have places at a time:
/// the fewest of those with which the last round of parts ends first.
fn num_splits(blocks: usize, places: usize) -> usize {
    let most = (2 * places).div_ceil(blocks.max(1)).clamp(1, SPLITS_MAX);
    let rounds = |splits: usize| (blocks * splits).div_ceil(places);
    let by_end = |a: &usize, b: &usize| (rounds(*a) * b).cmp(&(rounds(*b) * a));
    (1..=most).min_by(by_end).unwrap_or(1)
}

/// Few sizes, so that few graphs are captured, and none more than a seventh too large from eight
/// on.
fn graph_size(num_seqs: usize) -> usize {
    match num_seqs {
        0..=8 => num_seqs.next_power_of_two(),
        9..=64 => num_seqs.next_multiple_of(8),
        _ => num_seqs.next_multiple_of(16),
    }
}

fn blocks_of(seq: &BatchSeq<'_>, spec: &BatchSpec<'_>) -> usize {
    seq.context_len.div_ceil(spec.block_size)
}

/// First row, rows, context, start of the table, of each sequence.
fn seq_words(spec: &BatchSpec<'_>, filler: usize) -> Vec<i32> {
    let (mut row, mut table) = (0, 0);
    let mut words = Vec::with_capacity(4 * (spec.seqs.len() + filler));
    for seq in spec.seqs {
        words.extend([row, seq.num_rows as i32, seq.context_len as i32, table]);
        row += seq.num_rows as i32;
        table += blocks_of(seq, spec) as i32;
    }
    for _ in 0..filler {
        words.extend([row, 1, 0, 0]);
        row += 1;
    }
    words
}

type Tiles = Vec<[i32; 2]>;

/// Tiles of sequences of few rows, which share a context among blocks, and of the others.
fn tiles(spec: &BatchSpec<'_>, filler: usize) -> (Tiles, Tiles) {
    let group = spec.num_heads / spec.num_kv_heads;
    let (mut decode, mut prefill) = (Vec::new(), Vec::new());
    let seqs = spec.seqs.iter().map(|seq| seq.num_rows).chain(std::iter::repeat_n(1, filler));
    for (id, num_rows) in seqs.enumerate() {
        let rows = num_rows * group;
        let is_decode = num_rows == 1 || rows <= DECODE_ROWS * DECODE_TILES_MAX;
        let (tiles, step) = match is_decode {
            true => (&mut decode, DECODE_ROWS),
            false => (&mut prefill, PREFILL_ROWS),
        };
        tiles.extend((0..rows).step_by(step).map(|first| [id as i32, first as i32]));
    }
    (decode, prefill)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_contexts_fill_rounds() {
        // An H100's places, and the blocks of steps of 1, 32, 50, 128 sequences of four KV heads.
        for (blocks, expected) in [(4, 64), (128, 3), (200, 3), (512, 2), (4000, 1)] {
            assert_eq!(num_splits(blocks, 396), expected, "{blocks} blocks");
        }
        assert_eq!(num_splits(0, 12), 1);
    }
}
