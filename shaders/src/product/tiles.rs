//! The product of two matrices in a browser: packed panels, and tiles of 4 x 8 that stay in registers.
//!
//! `gemm`'s tile of 4 x 12 for wasm needs more vector registers than a browser's compiler has to give (15 of x86's 16), and a
//! tile that spills runs at two thirds of the rate of this one. Natively `gemm` knows wider instructions, and is taken.

use super::{Matrix, MatrixMut};

/// Rows of a tile: one broadcast value each.
pub(super) const TILE_ROWS: usize = 4;
/// Columns of a tile: two vectors of 4.
pub(super) const TILE_COLUMNS: usize = 8;
/// Values of the inner dimension in a panel: 8 columns of them are 12 KiB, which stay in the first cache for all rows.
const DEPTH: usize = 384;
/// Rows of `a` that are packed at a time, 192 KiB.
const BLOCK_ROWS: usize = 128;
/// Columns of `b` that are packed at a time, 384 KiB.
const BLOCK_COLUMNS: usize = 256;

/// Whether tiles pay: with fewer rows or columns most of a tile would be padding.
#[cfg(target_arch = "wasm32")]
pub(super) fn pay(rows: usize, columns: usize) -> bool {
    rows >= TILE_ROWS && columns >= TILE_COLUMNS
}

/// `c = factor · a · b`, or with `add` `c += factor · a · b`. The shapes fit together and none is empty.
pub(super) fn set_product(
    c: &mut MatrixMut<'_>,
    a: Matrix<'_>,
    b: Matrix<'_>,
    factor: f32,
    add: bool,
) {
    let depth = DEPTH.min(a.columns);
    let block = |count: usize, most: usize, tile: usize| most.min(count.next_multiple_of(tile));
    let block_rows = block(a.rows, BLOCK_ROWS, TILE_ROWS);
    let block_columns = block(b.columns, BLOCK_COLUMNS, TILE_COLUMNS);
    let mut packed_a = vec![0.0; block_rows * depth];
    let mut packed_b = vec![0.0; block_columns * depth];
    for first in (0..a.columns).step_by(depth) {
        let depth = depth.min(a.columns - first);
        let add = add || first > 0;
        for column in (0..b.columns).step_by(block_columns) {
            let columns = block_columns.min(b.columns - column);
            // Panels of `b` hold columns, as panels of `a` hold rows.
            let of_b = b.part([first, column], [depth, columns]).transposed();
            pack::<TILE_COLUMNS>(of_b, &mut packed_b);
            for row in (0..a.rows).step_by(block_rows) {
                let rows = block_rows.min(a.rows - row);
                pack::<TILE_ROWS>(a.part([row, first], [rows, depth]), &mut packed_a);
                let panels_a = packed_a.chunks_exact(TILE_ROWS * depth);
                let panels_b = packed_b.chunks_exact(TILE_COLUMNS * depth);
                for (panel_b, right) in panels_b.zip((0..columns).step_by(TILE_COLUMNS)) {
                    for (panel_a, down) in panels_a.clone().zip((0..rows).step_by(TILE_ROWS)) {
                        put(
                            c,
                            [panel_a, panel_b],
                            [row + down, column + right],
                            factor,
                            add,
                        );
                    }
                }
            }
        }
    }
}

/// Writes a matrix `[rows, depth]` as panels of `ROWS` rows, `[rows / ROWS, depth, ROWS]`; zeros fill the last one.
fn pack<const ROWS: usize>(matrix: Matrix<'_>, panels: &mut [f32]) {
    let depth = matrix.columns;
    for (panel, row) in panels
        .chunks_exact_mut(ROWS * depth)
        .zip((0..matrix.rows).step_by(ROWS))
    {
        let rows = ROWS.min(matrix.rows - row);
        if rows < ROWS {
            panel.fill(0.0);
        }
        let (down, along) = (matrix.row_stride, matrix.column_stride);
        let start = matrix.start.wrapping_offset(row as isize * down);
        // SAFETY: rows `row..row + rows` and all `depth` columns lie within the matrix.
        let value =
            |r: usize, d: usize| unsafe { *start.offset(r as isize * down + d as isize * along) };
        if rows == ROWS && down == 1 {
            for (d, values) in panel.chunks_exact_mut(ROWS).enumerate() {
                // SAFETY: as above, and the `ROWS` values are neighbours.
                let from =
                    unsafe { std::slice::from_raw_parts(start.offset(d as isize * along), ROWS) };
                values.copy_from_slice(from);
            }
        } else if rows == ROWS && along == 1 {
            let whole = depth - depth % 4;
            for (d, values) in (0..whole).step_by(4).zip(panel.chunks_exact_mut(4 * ROWS)) {
                for four in (0..ROWS).step_by(4) {
                    let from = start.wrapping_offset(four as isize * down + d as isize);
                    // SAFETY: four values of each of four rows lie within the matrix, and four of each depth in the panel.
                    unsafe { transpose(from, down, values[four..].as_mut_ptr(), ROWS) };
                }
            }
            for (d, values) in (whole..depth).zip(panel[whole * ROWS..].chunks_exact_mut(ROWS)) {
                for (r, to) in values.iter_mut().enumerate() {
                    *to = value(r, d);
                }
            }
        } else {
            for (d, values) in panel.chunks_exact_mut(ROWS).enumerate() {
                for (r, to) in values[..rows].iter_mut().enumerate() {
                    *to = value(r, d);
                }
            }
        }
    }
}

/// Writes four rows of four values, `down` apart, as four columns, `stride` apart.
///
/// # Safety
/// The sixteen values may be read and written.
unsafe fn transpose(from: *const f32, down: isize, to: *mut f32, stride: usize) {
    #[cfg(target_arch = "wasm32")]
    {
        use std::arch::wasm32::{i32x4_shuffle, v128_load, v128_store};
        // SAFETY: the caller's promise.
        let row = |r: isize| unsafe { v128_load(from.offset(r * down).cast()) };
        let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
        let [ab, cd] = [
            i32x4_shuffle::<0, 4, 1, 5>(a, b),
            i32x4_shuffle::<0, 4, 1, 5>(c, d),
        ];
        let [ab2, cd2] = [
            i32x4_shuffle::<2, 6, 3, 7>(a, b),
            i32x4_shuffle::<2, 6, 3, 7>(c, d),
        ];
        let columns = [
            i32x4_shuffle::<0, 1, 4, 5>(ab, cd),
            i32x4_shuffle::<2, 3, 6, 7>(ab, cd),
            i32x4_shuffle::<0, 1, 4, 5>(ab2, cd2),
            i32x4_shuffle::<2, 3, 6, 7>(ab2, cd2),
        ];
        for (c, column) in columns.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { v128_store(to.add(c * stride).cast(), column) };
        }
    }
    #[cfg(not(target_arch = "wasm32"))]
    for r in 0..4 {
        for c in 0..4 {
            // SAFETY: the caller's promise.
            unsafe { *to.add(c * stride + r) = *from.offset(r as isize * down + c as isize) };
        }
    }
}

/// Writes the product of a panel of rows `[depth, 4]` and one of columns `[depth, 8]` at `[row, column]`, as far as it lies
/// within the result.
fn put(
    c: &mut MatrixMut<'_>,
    panels: [&[f32]; 2],
    [row, column]: [usize; 2],
    factor: f32,
    add: bool,
) {
    let rows = TILE_ROWS.min(c.rows - row);
    let columns = TILE_COLUMNS.min(c.columns - column);
    if rows == TILE_ROWS && columns == TILE_COLUMNS {
        let stride = c.row_stride;
        let to = c.start.wrapping_offset(row as isize * stride);
        let to = to.wrapping_add(column);
        // SAFETY: four rows of eight values from `[row, column]` lie within the result.
        unsafe { tile(panels, to, stride as usize, factor, add) };
        return;
    }
    let mut edge = [0.0; TILE_ROWS * TILE_COLUMNS];
    // SAFETY: `edge` is a whole tile.
    unsafe { tile(panels, edge.as_mut_ptr(), TILE_COLUMNS, factor, false) };
    for (r, values) in edge.chunks_exact(TILE_COLUMNS).enumerate().take(rows) {
        let to = c.row(row + r)[column..].iter_mut().zip(values);
        if add {
            to.for_each(|(to, value)| *to += value);
        } else {
            to.for_each(|(to, value)| *to = *value);
        }
    }
}

/// `to = factor · a · b`, or with `add` `to += factor · a · b`, for panels `[depth, 4]` and `[depth, 8]`.
///
/// # Safety
/// Four rows of eight values, `stride` apart, may be read and written at `to`.
#[cfg(target_arch = "wasm32")]
unsafe fn tile([a, b]: [&[f32]; 2], to: *mut f32, stride: usize, factor: f32, add: bool) {
    use std::arch::wasm32::{
        f32x4_add, f32x4_mul, f32x4_splat, v128_load, v128_load32_splat, v128_store,
    };
    if let Some(tile) = super::relaxed::tile() {
        let depth = a.len() / TILE_ROWS;
        let bytes = stride * size_of::<f32>();
        // SAFETY: the panels hold `depth` rows, at least one; `to` is the caller's promise.
        return unsafe { tile(depth, a.as_ptr(), b.as_ptr(), to, bytes, factor, add.into()) };
    }
    let mut sums = [[f32x4_splat(0.0); TILE_COLUMNS / 4]; TILE_ROWS];
    for (a, b) in a.chunks_exact(TILE_ROWS).zip(b.chunks_exact(TILE_COLUMNS)) {
        // SAFETY: `a` holds 4 values and `b` 8.
        unsafe {
            let b = [
                v128_load(b.as_ptr().cast()),
                v128_load(b.as_ptr().add(4).cast()),
            ];
            for (row, sums) in sums.iter_mut().enumerate() {
                let a = v128_load32_splat(a.as_ptr().add(row).cast());
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = f32x4_add(*sum, f32x4_mul(a, b));
                }
            }
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        for (four, sum) in sums.into_iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let to = to.add(row * stride + 4 * four).cast();
                let scaled = f32x4_mul(sum, f32x4_splat(factor));
                v128_store(
                    to,
                    if add {
                        f32x4_add(v128_load(to), scaled)
                    } else {
                        scaled
                    },
                );
            }
        }
    }
}

/// As above, for tests of the packing on other machines.
///
/// # Safety
/// As above.
#[cfg(not(target_arch = "wasm32"))]
unsafe fn tile([a, b]: [&[f32]; 2], to: *mut f32, stride: usize, factor: f32, add: bool) {
    for row in 0..TILE_ROWS {
        for column in 0..TILE_COLUMNS {
            let pairs = a.chunks_exact(TILE_ROWS).zip(b.chunks_exact(TILE_COLUMNS));
            let sum: f32 = pairs.map(|(a, b)| a[row] * b[column]).sum();
            // SAFETY: the caller's promise.
            let to = unsafe { &mut *to.add(row * stride + column) };
            *to = factor * sum + if add { *to } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values of a matrix `[rows, columns]`, in rows or in columns, with `gap` values between them.
    fn laid_out(
        values: &dyn Fn(usize, usize) -> f32,
        [rows, columns]: [usize; 2],
        gap: usize,
        in_columns: bool,
    ) -> (Vec<f32>, [isize; 2]) {
        let strides = if in_columns {
            [1, rows + gap]
        } else {
            [columns + gap, 1]
        };
        let mut all = vec![f32::NAN; rows * strides[0] + columns * strides[1]];
        for row in 0..rows {
            for column in 0..columns {
                all[row * strides[0] + column * strides[1]] = values(row, column);
            }
        }
        (all, strides.map(|stride| stride as isize))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn equals_the_definition(
            rows in 1usize..150, inner in prop_oneof![1usize..40, 380usize..400], columns in prop_oneof![1usize..40, 250usize..270],
            gaps in [0usize..3, 0..3, 0..3], in_columns in [any::<bool>(), any::<bool>()], add in any::<bool>(),
        ) {
            let of_a = |row: usize, d: usize| ((row * 7 + d * 3) % 11) as f32 - 5.0;
            let of_b = |d: usize, column: usize| ((d * 5 + column * 2) % 13) as f32 - 6.0;
            let (a, strides_a) = laid_out(&of_a, [rows, inner], gaps[0], in_columns[0]);
            let (b, strides_b) = laid_out(&of_b, [inner, columns], gaps[1], in_columns[1]);
            let stride = columns + gaps[2];
            let mut c = vec![1.0; rows * stride];
            set_product(
                &mut MatrixMut::new(&mut c, 0, [rows, columns], stride),
                Matrix::new(&a, 0, [rows, inner], strides_a),
                Matrix::new(&b, 0, [inner, columns], strides_b),
                0.5,
                add,
            );
            for row in 0..rows {
                for column in 0..stride {
                    let sum: f32 = (0..inner).map(|d| of_a(row, d) * of_b(d, column)).sum();
                    let expected = match column < columns {
                        true => f32::from(add) + 0.5 * sum,
                        false => 1.0,
                    };
                    // Whole and half numbers: every sum is exact.
                    prop_assert_eq!(c[row * stride + column], expected, "{}, {}", row, column);
                }
            }
        }
    }
}
