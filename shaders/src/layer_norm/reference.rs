//! Layer normalisation in plain Burn tensor operations: the named alternative in benchmarks.

use burn::tensor::Tensor;

/// Layer normalisation over the last dimension; see [`crate::layer_norm()`].
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    let mean = x.clone().mean_dim(D - 1);
    let centred = x - mean;
    let variance = centred.clone().square().mean_dim(D - 1);
    let normed = centred / (variance + eps).sqrt();
    normed * weight.unsqueeze::<D>() + bias.unsqueeze::<D>()
}
