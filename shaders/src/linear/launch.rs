//! Matrix products of the linear layer on the GPU.

use burn::backend::ops::FloatTensorOps;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::select::{Product, select};
use super::tiled::{self, Along, Layout, Tile, Tiled};
use crate::column_sum;
use crate::launch::{Kernel, contiguous, empty};
use crate::sixteen_bit::{SIXTEEN_BIT, Stored};

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
    match product {
        Product::Tiled => tiled_product(&a, &b, bias.as_ref(), [m, n, k]),
        Product::Dots => dots_product(&a, &b, bias.as_ref(), [m, n, k]),
        Product::Short => short_product(&a, &b, bias.as_ref(), [m, n, k]),
        Product::Burn => burn_product(a, b, bias, [m, n, k]),
    }
}

fn tiled_product(
    a: &Operand,
    b: &Operand,
    bias: Option<&CubeTensor>,
    [m, n, k]: [usize; 3],
) -> CubeTensor {
    let c = empty(&a.tensor, [m, n]);
    let layout = |operand: &Operand, index, along, neighbours: usize| Layout {
        index,
        along,
        fours: neighbours.is_multiple_of(4),
        stored: Stored::of(&operand.tensor),
    };
    Tiled {
        name: "linear product",
        tile: Tile::select(&c, 1, m, n),
        a: match a.transposed {
            true => layout(a, a_index(a), Along::Rows, m),
            false => layout(a, a_index(a), Along::Depth, k),
        },
        b: match b.transposed {
            true => layout(b, b_index(b), Along::Depth, k),
            false => layout(b, b_index(b), Along::Rows, n),
        },
        matrices: ("1u", 1),
    }
    .launch(
        [&a.tensor, &b.tensor, &c],
        bias.map(|bias| (bias, "column")),
        &[m, n, k].map(|size| size as u32),
    );
    c
}

/// Both operands with their depth side by side, in fours; at most 8 rows of A, or columns of B.
fn dots_product(
    a: &Operand,
    b: &Operand,
    bias: Option<&CubeTensor>,
    [m, n, k]: [usize; 3],
) -> CubeTensor {
    const THREADS: u32 = 64;
    const ROWS: usize = THREADS as usize / 8;
    let c = empty(&a.tensor, [m, n]);
    let [few_stored, many_stored] =
        if m <= n { [a, b] } else { [b, a] }.map(|operand| Stored::of(&operand.tensor));
    let (few, many, operands, distances, column) = if m <= n {
        (m, n, [&a.tensor, &b.tensor, &c], [n, 1], "many")
    } else {
        (n, m, [&b.tensor, &a.tensor, &c], [1, n], "few")
    };
    let kernel = Kernel::new(
        "linear product of few rows",
        concat!(
            include_str!("../sixteen_bit/unpack.wgsl"),
            include_str!("dots.wgsl")
        ),
        THREADS,
    )
    .reads(SIXTEEN_BIT)
    .set("few", few)
    .set("a_four", few_stored.four())
    .set("a_unpack", few_stored.unpack())
    .set("b_four", many_stored.four())
    .set("b_unpack", many_stored.unpack())
    .workgroup_memory(few * THREADS as usize * 4);
    tiled::launch_biased(
        kernel,
        operands,
        bias.map(|bias| (bias, column)),
        &[many, k / 4, distances[0], distances[1]].map(|size| size as u32),
        many.div_ceil(ROWS),
    );
    c
}

fn short_product(
    a: &Operand,
    b: &Operand,
    bias: Option<&CubeTensor>,
    [m, n, k]: [usize; 3],
) -> CubeTensor {
    let c = empty(&a.tensor, [m, n]);
    // Consecutive threads read along the dimension in which an operand's values are neighbours.
    let along = |depth: bool| ["thread / 16u", "thread % 16u"][usize::from(depth)];
    let kernel = Kernel::new("short linear product", include_str!("short.wgsl"), 256)
        .set("a_index", a_index(a))
        .set("b_index", b_index(b))
        .set("a_row", along(a.transposed))
        .set("a_depth", along(!a.transposed))
        .set("b_column", along(!b.transposed))
        .set("b_depth", along(b.transposed))
        .workgroup_memory(2 * 272 * 4 + 16);
    let groups = m.div_ceil(16) * n.div_ceil(16);
    let operands = [&a.tensor, &b.tensor, &c];
    tiled::launch_biased(
        kernel,
        operands,
        bias.map(|bias| (bias, "column")),
        &[m, n, k].map(|size| size as u32),
        groups,
    );
    c
}

/// Index of A's element, in WGSL.
fn a_index(a: &Operand) -> String {
    let index = match a.transposed {
        true => "depth * size.x + row",
        false => "row * size.z + depth",
    };
    index.to_string()
}

/// Index of B's element, in WGSL.
fn b_index(b: &Operand) -> String {
    let index = match b.transposed {
        true => "column * size.z + depth",
        false => "depth * size.y + column",
    };
    index.to_string()
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

/// x op(W) + b over the rows of `x`; op(W) is Wᵀ where the weight is `transposed`.
fn over_rows(
    x: CubeTensor,
    weight: CubeTensor,
    transposed: bool,
    bias: Option<CubeTensor>,
) -> CubeTensor {
    let (m, k) = fold(&x);
    let n = weight.meta.shape()[usize::from(!transposed)];
    let mut shape = x.meta.shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] = n;
    let product = match (select([m, n, k], transposed), Stored::of(&weight)) {
        // Burn's product does not read 16-bit floats beside f32.
        (Product::Burn, Stored::F16 | Stored::BF16) => Product::Tiled,
        (product, _) => product,
    };
    let y = multiply(
        product,
        operand(x, false),
        operand(weight, transposed),
        bias.map(contiguous),
        [m, n, k],
    );
    CubeBackend::float_reshape(y, shape)
}

/// x Wᵀ + b, `[.., out]`.
pub(super) fn forward(x: CubeTensor, weight: CubeTensor, bias: Option<CubeTensor>) -> CubeTensor {
    over_rows(x, weight, true, bias)
}

/// dY W, `[.., in]`.
pub(super) fn input_gradient(dy: CubeTensor, weight: CubeTensor) -> CubeTensor {
    over_rows(dy, weight, false, None)
}

/// dYᵀ X, `[out, in]`.
pub(super) fn weight_gradient(dy: CubeTensor, x: CubeTensor) -> CubeTensor {
    let ((k, m), (_, n)) = (fold(&dy), fold(&x));
    multiply(
        select([m, n, k], false),
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
