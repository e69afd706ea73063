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
        let (num_rows, k) = x.dims2()?;
        if let Some(matrix) = matrices.iter().find(|matrix| matrix.k != k) {
            bail!("rows of {k} do not fit weights of {}", matrix.k)
        }
        let (storage, layout) = x.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { bail!("packed weights are on the CPU") };
        let x = f32_slice(storage, layout)?;
        let rows = timed(|| "rounding to 8 bits", || Rounded::new(x, k, &matrices));
        let products = timed(
            || name_of(&matrices),
            || {
                let mut products = matrices.map(|matrix| vec![0f32; num_rows * matrix.n]);
                rows.multiply(matrices, &mut products);
                products
            },
        );
        let mut tensors = Vec::with_capacity(N);
        for (matrix, products) in matrices.iter().zip(products) {
            tensors.push(Tensor::from_vec(products, (num_rows, matrix.n), &Device::Cpu)?);
        }
        Ok(tensors.try_into().expect("one for each matrix"))
    }

    /// `silu(gate x) * (up x)` for the rows of `x`, `[num_rows, k]`. Both products of a chunk of
    /// columns are multiplied while they are in a near cache, and neither is ever whole in memory.
    pub(super) fn gated_products(gate: &Self, up: &Self, x: &Tensor) -> Result<Tensor> {
        let (num_rows, k) = x.dims2()?;
        if gate.k != k || up.k != k || gate.n != up.n {
            bail!("rows of {k} do not fit gates [{}, {}] of [{}, {}]", gate.n, gate.k, up.n, up.k)
        }
        let (storage, layout) = x.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { bail!("packed weights are on the CPU") };
        let x = f32_slice(storage, layout)?;
        let rows = timed(|| "rounding to 8 bits", || Rounded::new(x, k, &[gate, up]));
        let name = || format!("{}, gated", name_of(&[gate, up]));
        let product = timed(name, || rows.multiply_gated(gate, up, num_rows));
        Tensor::from_vec(product, (num_rows, gate.n), &Device::Cpu)
    }
}

/// Elements of a chunk of columns, 128 KiB: two of them fit the second-level cache.
const GATED_LEN: usize = 32 * 1024;

thread_local! {
    /// Two chunks of columns: making them anew for each would cost as much as few rows do.
    static GATED: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Activations as the matrices' formats want them; what none wants is empty.
struct Rounded {
    blocks: Vec<RowBlock>,
    supers: Vec<SuperRow>,
}

impl Rounded {
    fn new(x: &[f32], k: usize, matrices: &[&Packed]) -> Self {
        let table = KernelTable::detect();
        let count = |block_len: usize| {
            let is_wanted = matrices.iter().any(|matrix| matrix.format.block_len() == block_len);
            if is_wanted { x.len() / block_len } else { 0 }
        };
        let mut blocks = vec![RowBlock::default(); count(BLOCK_LEN)];
        for_each_chunk(&mut blocks, ROW_TILE * k / BLOCK_LEN, |tile, rows| {
            let start = tile * ROW_TILE * k;
            table.quantize_rows(&x[start..start + rows.len() * BLOCK_LEN], k, rows);
        });
        let mut supers = vec![SuperRow::default(); count(SUPER_LEN)];
        for_each_chunk(&mut supers, ROW_TILE * k / SUPER_LEN, |tile, rows| {
            let start = tile * ROW_TILE * k;
            table.quantize_super_rows(&x[start..start + rows.len() * SUPER_LEN], k, rows);
        });
        Self { blocks, supers }
    }

    /// Products of the rows with several matrices, `[num_rows, n]` each.
    fn multiply<const N: usize>(&self, matrices: [&Packed; N], products: &mut [Vec<f32>; N]) {
        let columns = matrices.iter().zip(products).flat_map(|(&matrix, out)| {
            let width = weights_per_chunk(matrix);
            let columns = Columns::split(out, matrix.n, width).enumerate();
            columns.map(move |(index, columns)| (matrix, index * width, columns))
        });
        for_each(columns, |(matrix, first, mut columns)| {
            self.multiply_columns(matrix, first, &mut columns);
        });
    }

    fn multiply_gated(&self, gate: &Packed, up: &Packed, num_rows: usize) -> Vec<f32> {
        let mut products = vec![0f32; num_rows * gate.n];
        let near = (GATED_LEN / num_rows.max(1)).max(1).next_multiple_of(PANEL);
        let width = weights_per_chunk(gate).min(weights_per_chunk(up)).min(near);
        let table = KernelTable::detect();
        let columns = Columns::split(&mut products, gate.n, width).enumerate();
        for_each(columns, |(index, mut out)| {
            let width_here = out.width();
            GATED.with_borrow_mut(|chunks| {
                for (matrix, chunk) in [gate, up].into_iter().zip(&mut *chunks) {
                    chunk.resize(num_rows * width_here, 0.0);
                    for mut columns in Columns::split(chunk, width_here, width_here) {
                        self.multiply_columns(matrix, index * width, &mut columns);
                    }
                }
                let [gates, ups] = chunks.each_ref().map(|chunk| chunk.chunks_exact(width_here));
                for (row, (gate, up)) in gates.zip(ups).enumerate() {
                    table.silu_mul(gate, up, out.row(row));
                }
            });
        });
        products
    }

    /// Products of the rows with the weight rows from `first` on.
    fn multiply_columns(&self, matrix: &Packed, first: usize, columns: &mut Columns<'_>) {
        let table = KernelTable::detect();
        let weights = matrix.groups(first, columns.width());
        match matrix.format {
            PackedFormat::Blocks(format) => {
                let args = QuantizedLinearArgs { format, weights, rows: &self.blocks, k: matrix.k };
                table.quantized_linear(&args, columns);
            }
            PackedFormat::Supers(format) => {
                let args = SuperLinearArgs { format, weights, rows: &self.supers, k: matrix.k };
                table.super_linear(&args, columns);
            }
        }
    }
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

/// For a profile: the formats, and the lengths of rows and of products.
fn name_of(matrices: &[&Packed]) -> String {
    let mut formats: Vec<_> = matrices.iter().map(|matrix| matrix.format_name()).collect();
    formats.dedup();
    let sizes: Vec<_> = matrices.iter().map(|matrix| matrix.n.to_string()).collect();
    format!("product, {}, {} to {}", formats.join(" and "), matrices[0].k, sizes.join(" + "))
}
