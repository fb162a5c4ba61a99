//! The convolution in plain Burn tensor operations: the named alternative in benchmarks.

use burn::tensor::Tensor;
use burn::tensor::module::conv1d as burn_conv1d;
use burn::tensor::ops::ConvOptions;

/// The same as [`crate::conv1d()`].
pub fn conv1d(
    x: Tensor<3>,
    weight: Tensor<3>,
    bias: Option<Tensor<2>>,
    stride: usize,
) -> Tensor<3> {
    let [samples, len, channels] = x.dims();
    let [groups, depth, out] = weight.dims();
    // Burn's own has the groups among the channels.
    let x = x
        .reshape([samples / groups, groups, len, channels])
        .swap_dims(2, 3)
        .reshape([samples / groups, groups * channels, len]);
    let weight = weight
        .reshape([groups, depth / channels, channels, out])
        .permute([0, 3, 2, 1])
        .reshape([groups * out, channels, depth / channels]);
    let bias = bias.map(|bias| bias.reshape([groups * out]));
    let y = burn_conv1d(
        x,
        weight,
        bias,
        ConvOptions::new([stride], [0], [1], groups),
    );
    let frames = y.dims()[2];
    y.reshape([samples / groups, groups, out, frames])
        .swap_dims(2, 3)
        .reshape([samples, frames, out])
}
