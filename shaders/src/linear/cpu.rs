//! Matrix products of the linear layer on the CPU, by the `gemm` crate.

use burn_flex::FlexTensor;

use crate::cpu::{blocks, contiguous, fresh, tensor};

/// Multiplications below which a second core does not pay.
const PARALLEL_PRODUCT: usize = 1 << 20;
/// Rows that one task sums in the gradient of the bias.
const SUM_ROWS: usize = 64;

fn cores(m: usize, n: usize, k: usize) -> gemm::Parallelism {
    #[cfg(not(target_family = "wasm"))]
    if m * n * k >= PARALLEL_PRODUCT {
        return gemm::Parallelism::Rayon(0);
    }
    let _ = (m, n, k, PARALLEL_PRODUCT);
    gemm::Parallelism::None
}

/// A matrix in memory: its values and the distances between rows and between columns.
#[derive(Clone, Copy)]
struct Matrix<'a>(&'a [f32], isize, isize);

/// c ← a b, or c + a b when `add`. `a` is `[m, k]`, `b` `[k, n]`, `c` `[m, n]` row by row.
fn multiply(c: &mut [f32], add: bool, a: Matrix, b: Matrix, [m, n, k]: [usize; 3]) {
    assert!(
        c.len() == m * n && a.0.len() == m * k && b.0.len() == k * n,
        "the sizes of a product disagree"
    );
    // SAFETY: the slices hold what the sizes and strides reach, as asserted, and `c` is borrowed mutably.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            add,
            a.0.as_ptr(),
            a.2,
            a.1,
            b.0.as_ptr(),
            b.2,
            b.1,
            1.0,
            1.0,
            false,
            false,
            false,
            cores(m, n, k),
        );
    }
}

fn with_width(tensor: &FlexTensor, width: usize) -> burn::tensor::Shape {
    let mut shape = tensor.layout().shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] = width;
    shape
}

/// x Wᵀ + b, `[.., out]`.
pub(super) fn forward(x: FlexTensor, weight: FlexTensor, bias: Option<FlexTensor>) -> FlexTensor {
    let (x, weight) = (contiguous(x), contiguous(weight));
    let (n, k) = (weight.layout().shape()[0], weight.layout().shape()[1]);
    let shape = with_width(&x, n);
    let m = shape.num_elements() / n.max(1);
    let mut y = fresh(m * n);
    let add = match bias {
        // The product then adds to the bias while it writes its tiles: no pass over the result of its own.
        Some(bias) => {
            let bias = contiguous(bias);
            let bias = bias.storage::<f32>();
            blocks(m * n, [&mut y], [SUM_ROWS * n], |_, [rows]| {
                rows.chunks_exact_mut(n)
                    .for_each(|row| row.copy_from_slice(bias));
            });
            true
        }
        None => false,
    };
    let (x, weight) = (x.storage::<f32>(), weight.storage::<f32>());
    multiply(
        &mut y,
        add,
        Matrix(x, k as isize, 1),
        Matrix(weight, 1, k as isize),
        [m, n, k],
    );
    tensor(y, shape)
}

/// dY W, `[.., in]`.
pub(super) fn input_gradient(dy: FlexTensor, weight: FlexTensor) -> FlexTensor {
    let (dy, weight) = (contiguous(dy), contiguous(weight));
    let (k, n) = (weight.layout().shape()[0], weight.layout().shape()[1]);
    let shape = with_width(&dy, n);
    let m = shape.num_elements() / n.max(1);
    let mut dx = fresh(m * n);
    let (dy, weight) = (dy.storage::<f32>(), weight.storage::<f32>());
    multiply(
        &mut dx,
        false,
        Matrix(dy, k as isize, 1),
        Matrix(weight, n as isize, 1),
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
    let mut dweight = fresh(m * n);
    multiply(
        &mut dweight,
        false,
        Matrix(dy, 1, m as isize),
        Matrix(x, n as isize, 1),
        [m, n, k],
    );
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
