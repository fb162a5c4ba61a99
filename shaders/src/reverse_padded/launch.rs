//! Reversal of time on the GPU.

use burn_cubecl::tensor::CubeTensor;

use crate::Lengths;
use crate::launch::{Kernel, contiguous, empty};

const THREADS: u32 = 256;

/// `x` `[B, L, D]` with the first positions of each sample reversed and zeros after them.
pub(super) fn reverse(x: CubeTensor, lengths: &Lengths) -> CubeTensor {
    let x = contiguous(x);
    let shape = x.meta.shape().clone();
    let values = shape.num_elements();
    let y = empty(&x, shape.clone());
    let mut info = vec![values as u32, shape[1] as u32, shape[2] as u32];
    info.extend_from_slice(lengths.as_slice());
    Kernel::new("reverse padded", include_str!("reverse.wgsl"), THREADS).launch(
        &[&x, &y],
        &info,
        values.div_ceil(THREADS as usize),
    );
    y
}
