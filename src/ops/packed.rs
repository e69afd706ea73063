//! Products with packed matrices: activations are rounded once, and the threads share the rows of
//! all matrices that they are multiplied with.

use std::cell::RefCell;

use candle_core::{Device, Result, Storage, Tensor, bail};
use kernels::{
    BLOCK_LEN, Columns, GROUP, KernelTable, PackedFormat, QuantizedLinearArgs, ROW_TILE, RowBlock,
    SUPER_LEN, SuperLinearArgs, SuperRow,
};

use super::parallel::{for_each, for_each_chunk, num_threads};
use super::profile::timed;
use super::storage::f32_slice;
use super::weight::Packed;

impl Packed {
    /// Products of the rows of `x`, `[num_rows, k]`, with several matrices.
    pub(super) fn products<const N: usize>(
        matrices: [&Self; N],
        x: &Tensor,
    ) -> Result<[Tensor; N]> {
        let (_, k) = x.dims2()?;
        if let Some(matrix) = matrices.iter().find(|matrix| matrix.k != k) {
            bail!("rows of {k} do not fit weights of {}", matrix.k)
        }
        let (storage, layout) = x.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { bail!("packed weights are on the CPU") };
        Self::products_of(matrices, f32_slice(storage, layout)?)
    }

    fn products_of<const N: usize>(matrices: [&Self; N], x: &[f32]) -> Result<[Tensor; N]> {
        let k = matrices[0].k;
        let num_rows = x.len() / k;
        let products = Rounded::with(x, k, &matrices, |rows| {
            let multiply = || {
                let mut products = matrices.map(|matrix| vec![0f32; num_rows * matrix.n]);
                rows.multiply(matrices, &mut products);
                products
            };
            timed(|| name_of(&matrices), multiply)
        });
        let mut tensors = Vec::with_capacity(N);
        for (matrix, products) in matrices.iter().zip(products) {
            tensors.push(Tensor::from_vec(products, (num_rows, matrix.n), &Device::Cpu)?);
        }
        Ok(tensors.try_into().expect("one for each matrix"))
    }

    /// `down (silu(gate x) * (up x))` for the rows of `x`, `[num_rows, k]`. Both products of a
    /// chunk of columns are multiplied while they are in a near cache, and what `down` reads lies
    /// where that of the layer before did: fresh memory for it would have to be cleared first.
    pub(super) fn feed_forward(gate: &Self, up: &Self, down: &Self, x: &Tensor) -> Result<Tensor> {
        let (num_rows, k) = x.dims2()?;
        if gate.k != k || up.k != k || gate.n != up.n {
            bail!("rows of {k} do not fit gates [{}, {}] of [{}, {}]", gate.n, gate.k, up.n, up.k)
        }
        if down.k != gate.n {
            bail!("rows of {} do not fit weights of {}", gate.n, down.k)
        }
        let (storage, layout) = x.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { bail!("packed weights are on the CPU") };
        let x = f32_slice(storage, layout)?;
        INNER.with_borrow_mut(|inner| {
            let inner = first(inner, num_rows * gate.n, 0.0);
            let name = || format!("{}, gated", name_of(&[gate, up]));
            Rounded::with(x, k, &[gate, up], |rows| {
                timed(name, || rows.multiply_gated(gate, up, inner));
            });
            let [y] = Self::products_of([down], inner)?;
            Ok(y)
        })
    }
}

/// Elements of the products of a chunk of columns, 32 KiB.
const GATED_LEN: usize = 8 * 1024;

thread_local! {
    /// Two chunks of columns: making them anew for each would cost as much as few rows do.
    static GATED: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
    /// What is between the layers of a feed-forward network.
    static INNER: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    static ROUNDED: RefCell<(Vec<RowBlock>, Vec<SuperRow>)> =
        const { RefCell::new((Vec::new(), Vec::new())) };
}

/// The first `len` elements of memory that is kept, whatever they are.
fn first<T: Clone>(kept: &mut Vec<T>, len: usize, filler: T) -> &mut [T] {
    if kept.len() < len {
        kept.resize(len, filler);
    }
    &mut kept[..len]
}

/// Activations as the matrices' formats want them; what none wants is empty.
struct Rounded<'a> {
    blocks: &'a [RowBlock],
    supers: &'a [SuperRow],
}

impl Rounded<'_> {
    /// Rounds the rows of `x` for `multiply`.
    fn with<T>(
        x: &[f32],
        k: usize,
        matrices: &[&Packed],
        multiply: impl FnOnce(&Rounded<'_>) -> T,
    ) -> T {
        let count = |block_len: usize| {
            let is_wanted = matrices.iter().any(|matrix| matrix.format.block_len() == block_len);
            if is_wanted { x.len() / block_len } else { 0 }
        };
        ROUNDED.with_borrow_mut(|(blocks, supers)| {
            let blocks = first(blocks, count(BLOCK_LEN), RowBlock::default());
            let supers = first(supers, count(SUPER_LEN), SuperRow::default());
            timed(|| "rounding to 8 bits", || round(x, k, blocks, supers));
            multiply(&Rounded { blocks, supers })
        })
    }

    /// Products of the rows with several matrices, `[num_rows, n]` each.
    fn multiply<const N: usize>(&self, matrices: [&Packed; N], products: &mut [Vec<f32>; N]) {
        let columns = matrices.iter().zip(products).flat_map(|(&matrix, out)| {
            let (width, num_rows) = (weights_per_chunk(matrix), rows_per_band(matrix));
            let bands = out.chunks_mut(num_rows * matrix.n).enumerate();
            bands.flat_map(move |(band, out)| {
                let columns = Columns::split(out, matrix.n, width).enumerate();
                columns.map(move |(id, columns)| (matrix, band * num_rows, id * width, columns))
            })
        });
        for_each(columns, |(matrix, first_row, first, mut columns)| {
            self.multiply_columns(matrix, first_row, first, &mut columns);
        });
    }

    /// Both products of some columns are multiplied for as many rows as pass weights together, then
    /// for the next: so they, the weights and the products stay in the second-level cache.
    fn multiply_gated(&self, gate: &Packed, up: &Packed, products: &mut [f32]) {
        let table = KernelTable::detect();
        let num_rows = (products.len() / gate.n).clamp(1, table.rows_together());
        let near = (GATED_LEN / num_rows).max(2 * PANEL).next_multiple_of(PANEL);
        let width = weights_per_chunk(gate).min(weights_per_chunk(up)).min(near);
        let columns = Columns::split(products, gate.n, width).enumerate();
        for_each(columns, |(id, mut out)| {
            GATED.with_borrow_mut(|kept| {
                for first_row in (0..out.num_rows()).step_by(num_rows) {
                    let num_rows = num_rows.min(out.num_rows() - first_row);
                    self.multiply_gated_rows(
                        [gate, up],
                        (first_row, num_rows),
                        id * width,
                        kept,
                        &mut out,
                    );
                }
            });
        });
    }

    fn multiply_gated_rows(
        &self,
        matrices: [&Packed; 2],
        (first_row, num_rows): (usize, usize),
        first: usize,
        kept: &mut [Vec<f32>; 2],
        out: &mut Columns<'_>,
    ) {
        let width = out.width();
        for (matrix, products) in matrices.into_iter().zip(&mut *kept) {
            products.resize(num_rows * width, 0.0);
            for mut columns in Columns::split(products, width, width) {
                self.multiply_columns(matrix, first_row, first, &mut columns);
            }
        }
        let [gates, ups] = kept.each_ref().map(|products| products.chunks_exact(width));
        for (row, (gate, up)) in gates.zip(ups).enumerate() {
            KernelTable::detect().silu_mul(gate, up, out.row(first_row + row));
        }
    }

    /// Products of the rows from `first_row` on, where a tile begins, with the weight rows from
    /// `first` on.
    fn multiply_columns(
        &self,
        matrix: &Packed,
        first_row: usize,
        first: usize,
        columns: &mut Columns<'_>,
    ) {
        let (table, k) = (KernelTable::detect(), matrix.k);
        let weights = matrix.groups(first, columns.width());
        let rows = first_row..first_row + columns.num_rows();
        match matrix.format {
            PackedFormat::Blocks(format) => {
                let rows = &self.blocks[rows.start * k / BLOCK_LEN..rows.end * k / BLOCK_LEN];
                table.quantized_linear(&QuantizedLinearArgs { format, weights, rows, k }, columns);
            }
            PackedFormat::Supers(format) => {
                let rows = &self.supers[rows.start * k / SUPER_LEN..rows.end * k / SUPER_LEN];
                table.super_linear(&SuperLinearArgs { format, weights, rows, k }, columns);
            }
        }
    }
}

fn round(x: &[f32], k: usize, blocks: &mut [RowBlock], supers: &mut [SuperRow]) {
    let table = KernelTable::detect();
    for_each_chunk(blocks, ROW_TILE * k / BLOCK_LEN, |tile, rows| {
        let start = tile * ROW_TILE * k;
        table.quantize_rows(&x[start..start + rows.len() * BLOCK_LEN], k, rows);
    });
    for_each_chunk(supers, ROW_TILE * k / SUPER_LEN, |tile, rows| {
        let start = tile * ROW_TILE * k;
        table.quantize_super_rows(&x[start..start + rows.len() * SUPER_LEN], k, rows);
    });
}

/// Weight rows that kernels multiply together.
const PANEL: usize = 4 * GROUP;

/// Weight rows that a thread takes at a time: few enough that they stay in the second-level cache
/// while the tiles of activations pass and that no thread waits long for the last one, and not so
/// few that taking them shows.
fn weights_per_chunk(matrix: &Packed) -> usize {
    const BYTES_MAX: usize = 256 * 1024;
    const CHUNKS_PER_THREAD: usize = 4;
    let share = matrix.n / (CHUNKS_PER_THREAD * num_threads());
    share.min(BYTES_MAX / matrix.row_bytes()).max(1).next_multiple_of(PANEL)
}

/// Rows of activations that pass one chunk of weights after the other: as many as stay in the
/// second-level cache meanwhile, where other cores do not slow them down.
fn rows_per_band(matrix: &Packed) -> usize {
    const BYTES_MAX: usize = 512 * 1024;
    let row_bytes = match matrix.format {
        PackedFormat::Blocks(_) => matrix.k / BLOCK_LEN * size_of::<RowBlock>(),
        PackedFormat::Supers(_) => matrix.k / SUPER_LEN * size_of::<SuperRow>(),
    };
    let together = KernelTable::detect().rows_together();
    (BYTES_MAX / (row_bytes * together)).max(1) * together
}

/// For a profile: the formats, and the lengths of rows and of products.
fn name_of(matrices: &[&Packed]) -> String {
    let mut formats: Vec<_> = matrices.iter().map(|matrix| matrix.format_name()).collect();
    formats.dedup();
    let sizes: Vec<_> = matrices.iter().map(|matrix| matrix.n.to_string()).collect();
    format!("product, {}, {} to {}", formats.join(" and "), matrices[0].k, sizes.join(" + "))
}
