//! Products with packed matrices: activations are rounded once, and the threads share the rows of
//! all matrices that they are multiplied with.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, bail};
use kernels::{Columns, GROUP, KernelTable, ROW_TILE, SUPER_LEN, SuperLinearArgs, SuperRow};

use super::parallel::{for_each, for_each_chunk, num_threads};
use super::storage::f32_slice;
use super::weight::Packed;

impl CustomOp1 for &Packed {
    fn name(&self) -> &'static str {
        "packed-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (num_rows, k) = layout.shape().dims2()?;
        if k != self.k {
            bail!("rows of {k} do not fit weights of {}", self.k)
        }
        let rows = rounded(f32_slice(x, layout)?, k);
        let mut out = vec![0f32; num_rows * self.n];
        let width = weights_per_chunk(self);
        let columns = Columns::split(&mut out, self.n, width);
        let table = KernelTable::detect();
        for_each(columns.enumerate(), |(index, mut columns)| {
            let weights = self.groups(index * width, columns.width());
            let args = SuperLinearArgs { format: self.format, weights, rows: &rows, k };
            table.super_linear(&args, &mut columns);
        });
        Ok((CpuStorage::F32(out), Shape::from((num_rows, self.n))))
    }
}

fn rounded(x: &[f32], k: usize) -> Vec<SuperRow> {
    let table = KernelTable::detect();
    let mut rows = vec![SuperRow::default(); x.len() / SUPER_LEN];
    for_each_chunk(&mut rows, ROW_TILE * k / SUPER_LEN, |tile, rows| {
        let start = tile * ROW_TILE * k;
        table.quantize_super_rows(&x[start..start + rows.len() * SUPER_LEN], k, rows);
    });
    rows
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
