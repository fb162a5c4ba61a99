//! Layer normalisation on the GPU.

use burn_cubecl::tensor::CubeTensor;

use crate::column_sum;
use crate::launch::{Kernel, contiguous, empty};

/// Invocations a row: six columns each at a width of 384.
const ROW_THREADS: u32 = 64;
/// Columns of a workgroup of the weights' kernel.
const COLUMN_THREADS: u32 = 64;

fn sizes(x: &CubeTensor) -> (usize, usize) {
    let shape = x.meta.shape();
    let width = shape[shape.num_dims() - 1];
    (shape.num_elements() / width.max(1), width)
}

/// `(y, stats)`, stats `[rows, 2]` with mean and 1/√(variance + eps) of each row.
pub(super) fn forward(
    x: CubeTensor,
    weight: CubeTensor,
    bias: CubeTensor,
    eps: f64,
) -> (CubeTensor, CubeTensor) {
    let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
    let (rows, width) = sizes(&x);
    let y = empty(&x, x.meta.shape().clone());
    let stats = empty(&x, [rows, 2]);
    Kernel::new(
        "layer norm forward",
        include_str!("forward.wgsl"),
        ROW_THREADS,
    )
    .workgroup_memory(ROW_THREADS as usize * 4)
    .launch(
        &[&x, &weight, &bias, &y, &stats],
        &[rows as u32, width as u32, (eps as f32).to_bits()],
        rows,
    );
    (y, stats)
}

/// `(dx, dweight, dbias)`.
pub(super) fn backward(
    x: CubeTensor,
    stats: CubeTensor,
    weight: CubeTensor,
    dy: CubeTensor,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let (x, weight, dy) = (contiguous(x), contiguous(weight), contiguous(dy));
    let (rows, width) = sizes(&x);
    let dx = empty(&x, x.meta.shape().clone());
    Kernel::new(
        "layer norm backward",
        include_str!("backward.wgsl"),
        ROW_THREADS,
    )
    .workgroup_memory(ROW_THREADS as usize * 8)
    .launch(
        &[&x, &stats, &weight, &dy, &dx],
        &[rows as u32, width as u32],
        rows,
    );
    let block = column_sum::BLOCK_ROWS;
    let blocks = rows.div_ceil(block).max(1);
    let partial = empty(&x, [blocks, 2 * width]);
    Kernel::new(
        "layer norm weights",
        include_str!("weights.wgsl"),
        COLUMN_THREADS,
    )
    .launch(
        &[&x, &stats, &dy, &partial],
        &[rows as u32, width as u32, block as u32, blocks as u32],
        blocks * width.div_ceil(COLUMN_THREADS as usize),
    );
    let sums = column_sum::launch(partial);
    let (dweight, dbias) = column_sum::halves(sums, width);
    (dx, dweight, dbias)
}
