//! Matrix products of the linear layer on the GPU.

use burn::backend::ops::FloatTensorOps;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::select::{Product, select};
use super::tiled;
use crate::column_sum;
use crate::launch::{Kernel, contiguous, empty};

/// A matrix that is multiplied, with how it lies in memory.
pub(super) struct Operand {
    pub(super) tensor: CubeTensor,
    pub(super) transposed: bool,
}

/// op(A) op(B) + bias for contiguous operands, as `[m, n]`.
pub(super) fn multiply(
    product: Product,
    a: Operand,
    b: Operand,
    bias: Option<CubeTensor>,
    [m, n, k]: [usize; 3],
) -> CubeTensor {
    // The names differ because a kernel is known by its name and parameters.
    let (name, source, threads, tile, bytes) = match product {
        Product::Tiled => (
            "linear product",
            tiled::WGSL,
            tiled::THREADS,
            64,
            2 * 272 * 16 + 16,
        ),
        Product::Short => (
            "short linear product",
            include_str!("short.wgsl"),
            256,
            16,
            2 * 272 * 4 + 16,
        ),
        Product::Burn => return burn_product(a, b, bias, [m, n, k]),
    };
    let kernel = Kernel::new(name, source, threads)
        .set("matrices", "1u")
        .set(
            "a_index",
            if a.transposed {
                "depth * size.x + row"
            } else {
                "row * size.z + depth"
            },
        )
        .set(
            "b_index",
            if b.transposed {
                "column * size.z + depth"
            } else {
                "depth * size.y + column"
            },
        )
        .workgroup_memory(bytes);
    let kernel = tiled::along(kernel, a.transposed, b.transposed);
    let c = empty(&a.tensor, [m, n]);
    let groups = m.div_ceil(tile) * n.div_ceil(tile);
    let info = [m as u32, n as u32, k as u32];
    let added = match tile {
        64 => "bias[column + j]",
        _ => "bias[column]",
    };
    let operands = [&a.tensor, &b.tensor, &c];
    tiled::launch(kernel, operands, bias.as_ref(), added, &info, groups);
    c
}

fn burn_product(
    a: Operand,
    b: Operand,
    bias: Option<CubeTensor>,
    [m, n, k]: [usize; 3],
) -> CubeTensor {
    let matrix = |operand: Operand, rows: usize, columns: usize| {
        if operand.transposed {
            let stored = CubeBackend::float_reshape(operand.tensor, [columns, rows].into());
            CubeBackend::float_swap_dims(stored, 0, 1)
        } else {
            CubeBackend::float_reshape(operand.tensor, [rows, columns].into())
        }
    };
    let product = CubeBackend::float_matmul(matrix(a, m, k), matrix(b, k, n));
    match bias {
        Some(bias) => {
            CubeBackend::float_add(product, CubeBackend::float_reshape(bias, [1, n].into()))
        }
        None => product,
    }
}

fn operand(tensor: CubeTensor, transposed: bool) -> Operand {
    Operand {
        tensor: contiguous(tensor),
        transposed,
    }
}

/// Rows and width of a tensor `[.., width]`.
fn fold(tensor: &CubeTensor) -> (usize, usize) {
    let shape = tensor.meta.shape();
    let width = shape[shape.num_dims() - 1];
    (shape.num_elements() / width.max(1), width)
}

/// x Wᵀ + b, `[.., out]`.
pub(super) fn forward(x: CubeTensor, weight: CubeTensor, bias: Option<CubeTensor>) -> CubeTensor {
    let (m, k) = fold(&x);
    let n = weight.meta.shape()[0];
    let mut shape = x.meta.shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] = n;
    let y = multiply(
        select(m, n, k),
        operand(x, false),
        operand(weight, true),
        bias.map(contiguous),
        [m, n, k],
    );
    CubeBackend::float_reshape(y, shape)
}

/// dY W, `[.., in]`.
pub(super) fn input_gradient(dy: CubeTensor, weight: CubeTensor) -> CubeTensor {
    let (m, k) = fold(&dy);
    let n = weight.meta.shape()[1];
    let mut shape = dy.meta.shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] = n;
    let dx = multiply(
        select(m, n, k),
        operand(dy, false),
        operand(weight, false),
        None,
        [m, n, k],
    );
    CubeBackend::float_reshape(dx, shape)
}

/// dYᵀ X, `[out, in]`.
pub(super) fn weight_gradient(dy: CubeTensor, x: CubeTensor) -> CubeTensor {
    let ((k, m), (_, n)) = (fold(&dy), fold(&x));
    multiply(
        select(m, n, k),
        operand(dy, true),
        operand(x, false),
        None,
        [m, n, k],
    )
}

/// Sums over the rows of dY, `[out]`.
pub(super) fn bias_gradient(dy: CubeTensor) -> CubeTensor {
    column_sum::launch(dy)
}
