//! Gated RMS normalisation on the GPU.

use burn_cubecl::tensor::CubeTensor;

use crate::column_sum;
use crate::launch::{Kernel, contiguous, empty};

/// Invocations of a group of a row.
const ROW_THREADS: u32 = 64;
/// Columns of a workgroup of the weights' kernel.
const COLUMN_THREADS: u32 = 64;
const FORWARD: &str = concat!(include_str!("forward.wgsl"), include_str!("sigmoid.wgsl"));
const BACKWARD: &str = concat!(include_str!("backward.wgsl"), include_str!("sigmoid.wgsl"));
const WEIGHTS: &str = concat!(include_str!("weights.wgsl"), include_str!("sigmoid.wgsl"));

/// Rows, and the width of a group.
fn sizes(x: &CubeTensor, groups: usize) -> (usize, usize) {
    let shape = x.meta.shape();
    let columns = shape[shape.num_dims() - 1];
    (shape.num_elements() / columns, columns / groups)
}

/// `(y, stats)`, stats `[rows, groups]` with 1/√(mean(g²) + eps).
pub(super) fn forward(
    x: CubeTensor,
    z: CubeTensor,
    weight: CubeTensor,
    groups: usize,
    eps: f64,
) -> (CubeTensor, CubeTensor) {
    let (x, z, weight) = (contiguous(x), contiguous(z), contiguous(weight));
    let (rows, width) = sizes(&x, groups);
    let y = empty(&x, x.meta.shape().clone());
    let stats = empty(&x, [rows, groups]);
    Kernel::new("gated rmsnorm forward", FORWARD, ROW_THREADS)
        .workgroup_memory(ROW_THREADS as usize * 4)
        .launch(
            &[&x, &z, &weight, &y, &stats],
            &[
                (rows * groups) as u32,
                groups as u32,
                width as u32,
                (eps as f32).to_bits(),
            ],
            rows * groups,
        );
    (y, stats)
}

/// `(dx, dz, dweight)`.
pub(super) fn backward(
    x: CubeTensor,
    z: CubeTensor,
    weight: CubeTensor,
    stats: CubeTensor,
    dy: CubeTensor,
    groups: usize,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let (x, z) = (contiguous(x), contiguous(z));
    let (weight, dy) = (contiguous(weight), contiguous(dy));
    let (rows, width) = sizes(&x, groups);
    let dx = empty(&x, x.meta.shape().clone());
    let dz = empty(&x, x.meta.shape().clone());
    Kernel::new("gated rmsnorm backward", BACKWARD, ROW_THREADS)
        .workgroup_memory(ROW_THREADS as usize * 4)
        .launch(
            &[&x, &z, &weight, &stats, &dy, &dx, &dz],
            &[(rows * groups) as u32, groups as u32, width as u32],
            rows * groups,
        );
    let columns = groups * width;
    let blocks = rows.div_ceil(column_sum::BLOCK_ROWS).max(1);
    let partial = empty(&x, [blocks, columns]);
    Kernel::new("gated rmsnorm weights", WEIGHTS, COLUMN_THREADS).launch(
        &[&x, &z, &stats, &dy, &partial],
        &[rows, groups, width, column_sum::BLOCK_ROWS, blocks].map(|size| size as u32),
        blocks * columns.div_ceil(COLUMN_THREADS as usize),
    );
    (dx, dz, column_sum::launch(partial))
}
