//! Matrix products on strided views for the CPU twins: by `gemm` natively, in a browser by tiles of our own (`tiles`), with fused
//! multiply-add where the browser has it (`relaxed`).

use std::marker::PhantomData;

#[cfg(target_arch = "wasm32")]
mod relaxed;
#[cfg(any(test, target_arch = "wasm32"))]
mod tiles;

use burn_flex::FlexTensor;

/// A matrix inside somebody else's values: a pointer to its first element and the distance of rows and columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    start: *const f32,
    rows: usize,
    columns: usize,
    row_stride: isize,
    column_stride: isize,
    values: PhantomData<&'a f32>,
}

// SAFETY: a `Matrix` only reads, like the `&[f32]` that it stands for.
unsafe impl Send for Matrix<'_> {}
// SAFETY: as above.
unsafe impl Sync for Matrix<'_> {}

impl<'a> Matrix<'a> {
    /// The matrix whose element (i, j) is `values[offset + i * strides[0] + j * strides[1]]`.
    pub(crate) fn new(
        values: &'a [f32],
        offset: usize,
        [rows, columns]: [usize; 2],
        strides: [isize; 2],
    ) -> Self {
        check(values.len(), offset, [rows, columns], strides);
        // An empty matrix may start past the end.
        let start = if rows * columns == 0 {
            values.as_ptr()
        } else {
            values[offset..].as_ptr()
        };
        Self {
            start,
            rows,
            columns,
            row_stride: strides[0],
            column_stride: strides[1],
            values: PhantomData,
        }
    }

    /// Position of sample `b`, head `h` of a `[B, L, H, P]` tensor: the rows `rows` as an `[L, P]` matrix, in place.
    pub(crate) fn of_head(
        tensor: &'a FlexTensor,
        b: usize,
        h: usize,
        rows: std::ops::Range<usize>,
    ) -> Self {
        let layout = tensor.layout();
        let strides = layout.strides();
        let first = layout.start_offset() as isize
            + b as isize * strides[0]
            + rows.start as isize * strides[1]
            + h as isize * strides[2];
        let width = layout.shape()[3];
        Self::new(
            tensor.storage::<f32>(),
            first as usize,
            [rows.len(), width],
            [strides[1], strides[3]],
        )
    }

    /// The part of `shape` that begins at `first`.
    #[cfg(any(test, target_arch = "wasm32"))]
    fn part(self, first: [usize; 2], shape: [usize; 2]) -> Self {
        assert!(
            first[0] + shape[0] <= self.rows && first[1] + shape[1] <= self.columns,
            "{shape:?} from {first:?} is no part of {} x {}",
            self.rows,
            self.columns
        );
        Self {
            start: self.start.wrapping_offset(
                first[0] as isize * self.row_stride + first[1] as isize * self.column_stride,
            ),
            rows: shape[0],
            columns: shape[1],
            ..self
        }
    }

    /// The transposed view.
    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// A matrix to be written, inside values that other threads may be writing other parts of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MatrixMut<'a> {
    start: *mut f32,
    rows: usize,
    columns: usize,
    row_stride: isize,
    values: PhantomData<&'a mut f32>,
}

impl<'a> MatrixMut<'a> {
    /// Rows of `columns` neighbouring values, `row_stride` apart.
    pub(crate) fn new(
        values: &'a mut [f32],
        offset: usize,
        [rows, columns]: [usize; 2],
        row_stride: usize,
    ) -> Self {
        check(
            values.len(),
            offset,
            [rows, columns],
            [row_stride as isize, 1],
        );
        Self {
            start: values.as_mut_ptr().wrapping_add(offset),
            rows,
            columns,
            row_stride: row_stride as isize,
            values: PhantomData,
        }
    }

    /// The rows `rows` of this matrix.
    pub(crate) fn rows(&mut self, rows: std::ops::Range<usize>) -> MatrixMut<'_> {
        assert!(
            rows.start <= rows.end && rows.end <= self.rows,
            "rows {rows:?} of a matrix of {}",
            self.rows
        );
        MatrixMut {
            start: self
                .start
                .wrapping_offset(rows.start as isize * self.row_stride),
            rows: rows.len(),
            ..*self
        }
    }

    /// The matrix as an operand.
    pub(crate) fn read(&self) -> Matrix<'_> {
        Matrix {
            start: self.start,
            rows: self.rows,
            columns: self.columns,
            row_stride: self.row_stride,
            column_stride: 1,
            values: PhantomData,
        }
    }

    /// The values of one row.
    pub(crate) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row {row} of a matrix of {}", self.rows);
        // SAFETY: the row lies within the values (checked when the matrix was made) and nobody else writes it.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.start.offset(row as isize * self.row_stride),
                self.columns,
            )
        }
    }

    /// `self = factor · a · b`, or with `add` `self += factor · a · b`, on one thread.
    pub(crate) fn set_product(&mut self, a: Matrix<'_>, b: Matrix<'_>, factor: f32, add: bool) {
        assert!(
            a.rows == self.rows && a.columns == b.rows && b.columns == self.columns,
            "{} x {} is no product of {} x {} and {} x {}",
            self.rows,
            self.columns,
            a.rows,
            a.columns,
            b.rows,
            b.columns
        );
        if self.rows * self.columns == 0 {
            return;
        }
        if a.columns == 0 {
            if !add {
                (0..self.rows).for_each(|row| self.row(row).fill(0.0));
            }
            return;
        }
        #[cfg(target_arch = "wasm32")]
        if tiles::pay(self.rows, self.columns) {
            return tiles::set_product(self, a, b, factor, add);
        }
        // SAFETY: all three matrices lie within their values (checked when they were made), their shapes fit, and the
        // destination is borrowed mutably.
        unsafe {
            gemm::gemm(
                self.rows,
                self.columns,
                a.columns,
                self.start,
                1,
                self.row_stride,
                add,
                a.start,
                a.column_stride,
                a.row_stride,
                b.start,
                b.column_stride,
                b.row_stride,
                1.0,
                factor,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}

/// Values that several threads write, each its own part.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    values: PhantomData<&'a mut f32>,
}

// SAFETY: the only way to the values is `matrix`, whose caller promises that parts in use at once do not overlap.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Shares `values` between threads.
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
        Self {
            start: values.as_mut_ptr(),
            len: values.len(),
            values: PhantomData,
        }
    }

    /// A part of the values as a matrix with rows of neighbouring values.
    ///
    /// # Safety
    /// No element of the matrix may be part of another one that is in use at the same time.
    pub(crate) unsafe fn matrix(
        &self,
        offset: usize,
        shape: [usize; 2],
        row_stride: usize,
    ) -> MatrixMut<'_> {
        check(self.len, offset, shape, [row_stride as isize, 1]);
        MatrixMut {
            start: self.start.wrapping_add(offset),
            rows: shape[0],
            columns: shape[1],
            row_stride: row_stride as isize,
            values: PhantomData,
        }
    }
}

/// Runs `work` for 0 to `tasks`, over the cores where there are several and `parallel` says that it pays. `scratch` makes
/// what a thread keeps from one task to the next.
pub(crate) fn tasks<S>(
    tasks: usize,
    parallel: bool,
    scratch: impl Fn() -> S + Send + Sync,
    work: impl Fn(&mut S, usize) + Send + Sync,
) {
    #[cfg(not(target_family = "wasm"))]
    if parallel && tasks > 1 {
        use rayon::prelude::*;
        (0..tasks)
            .into_par_iter()
            .for_each_init(&scratch, |scratch, task| work(scratch, task));
        return;
    }
    let _ = parallel;
    let mut scratch = scratch();
    (0..tasks).for_each(|task| work(&mut scratch, task));
}

/// Panics unless a strided matrix lies within `len` values.
fn check(len: usize, offset: usize, [rows, columns]: [usize; 2], strides: [isize; 2]) {
    if rows * columns == 0 {
        return;
    }
    let reach = |count: usize, stride: isize| (count as isize - 1) * stride;
    let (down, right) = (reach(rows, strides[0]), reach(columns, strides[1]));
    let first = offset as isize + down.min(0) + right.min(0);
    let last = offset as isize + down.max(0) + right.max(0);
    assert!(
        first >= 0 && last < len as isize,
        "a {rows} x {columns} matrix at {offset} lies outside of {len} values"
    );
}
