//! Products with packed matrices: activations are rounded once, and the threads share the rows of
//! all matrices that they are multiplied with.

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
        let table = KernelTable::detect();
        for_each(columns, |(matrix, first, mut columns)| {
            let weights = matrix.groups(first, columns.width());
            match matrix.format {
                PackedFormat::Blocks(format) => {
                    let args =
                        QuantizedLinearArgs { format, weights, rows: &self.blocks, k: matrix.k };
                    table.quantized_linear(&args, &mut columns);
                }
                PackedFormat::Supers(format) => {
                    let args = SuperLinearArgs { format, weights, rows: &self.supers, k: matrix.k };
                    table.super_linear(&args, &mut columns);
                }
            }
        });
    }
}

/// Weight rows that a thread takes at a time: few enough that they stay in the second-level cache
/// while the tiles of activations pass and that no thread waits long for the last one, and not so
/// few that taking them shows. The kernel makes panels of 32 rows.
fn weights_per_chunk(matrix: &Packed) -> usize {
    const BYTES_MAX: usize = 256 * 1024;
    const CHUNKS_PER_THREAD: usize = 4;
    const PANEL: usize = 4 * GROUP;
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
