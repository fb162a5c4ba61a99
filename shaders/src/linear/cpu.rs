//! Matrix products of the linear layer on the CPU.

use burn_flex::FlexTensor;

use crate::cpu::{blocks, contiguous, fresh, tensor};
use crate::product::{Matrix, Shared, tasks};

/// Multiplications below which a second core does not pay.
const PARALLEL_PRODUCT: usize = 1 << 20;
/// Rows (or columns) of the result that one task computes at most.
const BLOCK: usize = 512;
/// Rows that one task sums in the gradient of the bias.
const SUM_ROWS: usize = 64;

/// A whole tensor as a matrix: its values and the distances between rows and between columns.
#[derive(Clone, Copy)]
struct Operand<'a>(&'a [f32], [usize; 2]);

impl<'a> Operand<'a> {
    /// Part of the matrix, from element (i, j).
    fn part(self, [i, j]: [usize; 2], shape: [usize; 2]) -> Matrix<'a> {
        let Self(values, strides) = self;
        let offset = i * strides[0] + j * strides[1];
        Matrix::new(values, offset, shape, strides.map(|stride| stride as isize))
    }
}

/// Size of the parts that the `[m, n]` result of a product is computed in.
///
/// The cores share rows, or columns where there are few rows, each with a product of its own: `gemm` on one thread reaches
/// 81 to 91 % of a core's peak at BERT's sizes (103 GFLOP/s, AVX2), and nobody waits for the others between its steps.
/// Parts of 512 rows pack the other operand again without losing to one product over all rows; parts of 128 lose 8 %.
fn parts(m: usize, n: usize, k: usize) -> [usize; 2] {
    #[cfg(not(target_family = "wasm"))]
    let cores = if m * n * k >= PARALLEL_PRODUCT {
        rayon::current_num_threads()
    } else {
        1
    };
    #[cfg(target_family = "wasm")]
    let (cores, _) = (1, k);
    let share = |size: usize| size.div_ceil(cores).next_multiple_of(16).min(BLOCK);
    if m >= 64 * cores || m >= n {
        [share(m), n]
    } else {
        [m, share(n)]
    }
}

/// a b, plus `bias` in every row; `a` is `[m, k]`, `b` `[k, n]`. Row by row.
fn multiply(
    a: Operand<'_>,
    b: Operand<'_>,
    bias: Option<&[f32]>,
    [m, n, k]: [usize; 3],
) -> Vec<f32> {
    let mut c = fresh(m * n);
    let [part_rows, part_columns] = parts(m, n, k);
    let (down, across) = (m.div_ceil(part_rows), n.div_ceil(part_columns));
    let shared = Shared::new(&mut c);
    tasks(
        down * across,
        m * n * k >= PARALLEL_PRODUCT,
        || (),
        |(), task| {
            let (i, j) = (task / across * part_rows, task % across * part_columns);
            let (rows, columns) = (part_rows.min(m - i), part_columns.min(n - j));
            // SAFETY: the parts of different tasks do not overlap.
            let mut part = unsafe { shared.matrix(i * n + j, [rows, columns], n) };
            if let Some(bias) = bias {
                // The product adds to it while it writes: no pass over the result of its own.
                (0..rows).for_each(|row| part.row(row).copy_from_slice(&bias[j..j + columns]));
            }
            part.set_product(
                a.part([i, 0], [rows, k]),
                b.part([0, j], [k, columns]),
                1.0,
                bias.is_some(),
            );
        },
    );
    c
}

fn with_width(tensor: &FlexTensor, width: usize) -> burn::tensor::Shape {
    let mut shape = tensor.layout().shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] = width;
    shape
}

/// x Wᵀ + b, `[.., out]`.
pub(super) fn forward(x: FlexTensor, weight: FlexTensor, bias: Option<FlexTensor>) -> FlexTensor {
    let (x, weight, bias) = (contiguous(x), contiguous(weight), bias.map(contiguous));
    let (n, k) = (weight.layout().shape()[0], weight.layout().shape()[1]);
    let shape = with_width(&x, n);
    let m = shape.num_elements() / n.max(1);
    let (x, weight) = (x.storage::<f32>(), weight.storage::<f32>());
    let bias = bias.as_ref().map(|bias| bias.storage::<f32>());
    let y = multiply(Operand(x, [k, 1]), Operand(weight, [1, k]), bias, [m, n, k]);
    tensor(y, shape)
}

/// dY W, `[.., in]`.
pub(super) fn input_gradient(dy: FlexTensor, weight: FlexTensor) -> FlexTensor {
    let (dy, weight) = (contiguous(dy), contiguous(weight));
    let (k, n) = (weight.layout().shape()[0], weight.layout().shape()[1]);
    let shape = with_width(&dy, n);
    let m = shape.num_elements() / n.max(1);
    let (dy, weight) = (dy.storage::<f32>(), weight.storage::<f32>());
    let dx = multiply(
        Operand(dy, [k, 1]),
        Operand(weight, [n, 1]),
        None,
        [m, n, k],
    );
    tensor(dx, shape)
}

/// dYᵀ X, `[out, in]`.
pub(super) fn weight_gradient(dy: FlexTensor, x: FlexTensor) -> FlexTensor {
    let (dy, x) = (contiguous(dy), contiguous(x));
    let last = |tensor: &FlexTensor| {
        let shape = tensor.layout().shape();
        shape[shape.num_dims() - 1]
    };
    let (m, n) = (last(&dy), last(&x));
    let (dy, x) = (dy.storage::<f32>(), x.storage::<f32>());
    let k = dy.len() / m.max(1);
    let dweight = multiply(Operand(dy, [1, m]), Operand(x, [n, 1]), None, [m, n, k]);
    tensor(dweight, [m, n])
}

/// Sums over the rows of dY, `[out]`.
pub(super) fn bias_gradient(dy: FlexTensor) -> FlexTensor {
    let dy = contiguous(dy);
    let shape = dy.layout().shape();
    let n = shape[shape.num_dims() - 1];
    let dy = dy.storage::<f32>();
    let block = (SUM_ROWS * n).max(1);
    let mut partial = vec![0.0; dy.len().div_ceil(block) * n];
    // In blocks of fixed size, so that the result does not depend on the number of cores.
    blocks(dy.len(), [&mut partial], [n], |number, [sums]| {
        let rows = &dy[number * block..];
        for row in rows[..rows.len().min(block)].chunks_exact(n) {
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += value);
        }
    });
    let mut sums = vec![0.0; n];
    for partial in partial.chunks_exact(n.max(1)) {
        sums.iter_mut()
            .zip(partial)
            .for_each(|(sum, value)| *sum += value);
    }
    tensor(sums, [n])
}
