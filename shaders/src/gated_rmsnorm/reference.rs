//! Gated RMS normalisation in plain Burn tensor operations: the named alternative in benchmarks.

use burn::tensor::{Tensor, activation::silu};

/// The same as [`crate::gated_rmsnorm()`].
pub fn gated_rmsnorm(
    x: Tensor<3>,
    z: Tensor<3>,
    weight: Tensor<1>,
    groups: usize,
    eps: f64,
) -> Tensor<3> {
    let [batch, len, width] = x.dims();
    let g = (x * silu(z)).reshape([batch, len, groups, width / groups]);
    let mean = g.clone().square().mean_dim(3);
    (g / (mean + eps).sqrt()).reshape([batch, len, width]) * weight.unsqueeze::<3>()
}
