//! GELU on the GPU.

use burn_cubecl::tensor::CubeTensor;

use crate::launch::{Kernel, contiguous, empty};

const THREADS: usize = 256;
const FORWARD: &str = concat!(include_str!("forward.wgsl"), include_str!("normal.wgsl"));
const BACKWARD: &str = concat!(include_str!("backward.wgsl"), include_str!("normal.wgsl"));

/// x · Φ(x).
pub(super) fn forward(x: CubeTensor) -> CubeTensor {
    let x = contiguous(x);
    let values = x.meta.shape().num_elements();
    let y = empty(&x, x.meta.shape().clone());
    Kernel::new("gelu forward", FORWARD, THREADS as u32).launch(
        &[&x, &y],
        &[values as u32],
        values.div_ceil(THREADS),
    );
    y
}

/// dy · (Φ(x) + x φ(x)).
pub(super) fn backward(x: CubeTensor, dy: CubeTensor) -> CubeTensor {
    let (x, dy) = (contiguous(x), contiguous(dy));
    let values = x.meta.shape().num_elements();
    let dx = empty(&x, x.meta.shape().clone());
    Kernel::new("gelu backward", BACKWARD, THREADS as u32).launch(
        &[&x, &dy, &dx],
        &[values as u32],
        values.div_ceil(THREADS),
    );
    dx
}
