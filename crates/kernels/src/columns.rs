//! [`Columns`]: some columns of a row-major matrix, to be written by one thread.

use std::marker::PhantomData;

/// Columns `[start, start + width)` of all rows of a matrix. Threads that compute different weight
/// rows write different columns of the same rows.
#[derive(Debug)]
pub struct Columns<'a> {
    /// First element of the first row.
    first: *mut f32,
    row_len: usize,
    num_rows: usize,
    width: usize,
    matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: it stands for exclusive access to its elements, as `&mut [f32]` does.
unsafe impl Send for Columns<'_> {}

impl<'a> Columns<'a> {
    /// Cuts `matrix`, rows of `row_len`, into columns of `width`, the last ones fewer.
    ///
    /// Panics if `matrix` is not whole rows or a length is 0.
    pub fn split(
        matrix: &'a mut [f32],
        row_len: usize,
        width: usize,
    ) -> impl ExactSizeIterator<Item = Self> + Send + use<'a> {
        assert!(row_len > 0 && width > 0 && matrix.len().is_multiple_of(row_len));
        let num_rows = matrix.len() / row_len;
        let first = Start(matrix.as_mut_ptr());
        (0..row_len.div_ceil(width)).map(move |id| {
            let start = id * width;
            let width = width.min(row_len - start);
            // An empty matrix has no rows whose columns could be out of bounds.
            let first = first.column(start);
            Self { first, row_len, num_rows, width, matrix: PhantomData }
        })
    }

    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// Panics if there is no such row.
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.num_rows);
        // SAFETY: the row is in the matrix, which is borrowed for `'a`; its columns
        // `[start, start + width)` belong to this value alone, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.row_len), self.width) }
    }
}

struct Start(*mut f32);

// SAFETY: the iterator that holds it stands for exclusive access to the matrix.
unsafe impl Send for Start {}

impl Start {
    fn column(&self, start: usize) -> *mut f32 {
        self.0.wrapping_add(start)
    }
}
