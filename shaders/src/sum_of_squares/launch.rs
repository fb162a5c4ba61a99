//! Sum of squares on the GPU: blocks, then blocks of their sums, without atomics on floats, which WebGPU does not have and which
//! may give another last digit every time.

use burn_cubecl::tensor::CubeTensor;

use crate::launch::{Kernel, contiguous, empty};

/// Invocations of a workgroup.
const THREADS: u32 = 64;
/// Values of a workgroup; few in this crate's tests, so that they see blocks of blocks of sums.
const BLOCK: usize = if cfg!(test) { 2 } else { 64 } * THREADS as usize;

/// Σ x² as `[1]`.
pub(super) fn sum(x: CubeTensor) -> CubeTensor {
    let mut x = contiguous(x);
    let mut term = "value * value";
    loop {
        let values = x.meta.shape().num_elements();
        let blocks = values.div_ceil(BLOCK).max(1);
        let sums = empty(&x, [blocks]);
        Kernel::new("sum of squares", include_str!("sum.wgsl"), THREADS)
            .set("block", BLOCK)
            .set("term", term)
            .workgroup_memory(4 * THREADS as usize)
            .launch(&[&x, &sums], &[values as u32, blocks as u32], blocks);
        if blocks == 1 {
            return sums;
        }
        (x, term) = (sums, "value");
    }
}
