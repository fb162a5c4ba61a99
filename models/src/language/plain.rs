//! The convolution of Mamba in plain tensor operations, until that of `caldera-shaders` stands in.

use burn::tensor::{Tensor, activation};

pub(crate) struct ConvOutput {
    pub y: Tensor<3>,
    pub state: Tensor<3>,
}

pub(crate) fn causal_conv1d(
    x: Tensor<3>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    initial_state: Option<Tensor<3>>,
    silu: bool,
) -> ConvOutput {
    let [b, l, d] = x.dims();
    let [_, w] = weight.dims();
    let device = x.device();
    let before = initial_state.unwrap_or_else(|| Tensor::zeros([b, d, w - 1], &device));
    let padded = Tensor::cat(vec![before.swap_dims(1, 2), x], 1);
    let mut y = Tensor::zeros([b, l, d], &device);
    for j in 0..w {
        let tap = weight.clone().narrow(1, j, 1).reshape([1, 1, d]);
        y = y + padded.clone().narrow(1, j, l) * tap;
    }
    if let Some(bias) = bias {
        y = y + bias.reshape([1, 1, d]);
    }
    let state = padded.narrow(1, l, w - 1).swap_dims(1, 2);
    let y = if silu { activation::silu(y) } else { y };
    ConvOutput { y, state }
}

pub(crate) fn causal_conv1d_step(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    state: Tensor<3>,
    silu: bool,
) -> (Tensor<2>, Tensor<3>) {
    let [b, d] = x.dims();
    let out = causal_conv1d(x.reshape([b, 1, d]), weight, bias, Some(state), silu);
    (out.y.reshape([b, d]), out.state)
}
