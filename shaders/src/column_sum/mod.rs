//! Sums over the rows of a matrix on the GPU in two stages, without atomics: the gradients of biases and of layer norms.

use burn_cubecl::tensor::CubeTensor;

use crate::launch::{Kernel, contiguous, empty};

/// Rows that one invocation adds up in the first stage.
pub(crate) const BLOCK_ROWS: usize = 64;
/// Columns of a workgroup.
const THREADS: u32 = 64;

/// Sums over the rows of `x` `[.., columns]`, as `[columns]`.
pub(crate) fn launch(x: CubeTensor) -> CubeTensor {
    let mut x = contiguous(x);
    let shape = x.meta.shape();
    let columns = shape[shape.num_dims() - 1];
    let mut rows = shape.num_elements() / columns.max(1);
    loop {
        let blocks = rows.div_ceil(BLOCK_ROWS).max(1);
        // The last stage gives a plain vector.
        let sums = if blocks == 1 {
            empty(&x, [columns])
        } else {
            empty(&x, [blocks, columns])
        };
        Kernel::new("column sum", include_str!("column_sum.wgsl"), THREADS).launch(
            &[&x, &sums],
            &[
                rows as u32,
                columns as u32,
                BLOCK_ROWS as u32,
                blocks as u32,
            ],
            blocks * columns.div_ceil(THREADS as usize),
        );
        if blocks == 1 {
            return sums;
        }
        (x, rows) = (sums, blocks);
    }
}

/// The two halves of a vector of 2 · `width` values.
pub(crate) fn halves(sums: CubeTensor, width: usize) -> (CubeTensor, CubeTensor) {
    use burn::backend::ops::FloatTensorOps;
    use burn::tensor::Slice;
    use burn_cubecl::CubeBackend;
    let part = |range: std::ops::Range<usize>| {
        CubeBackend::float_slice(sums.clone(), &[Slice::from(range)])
    };
    (part(0..width), part(width..2 * width))
}
