//! The causal convolution in plain Burn tensor operations: the named alternative in benchmarks, and any width or type.

use burn::tensor::Tensor;
use burn::tensor::activation::silu;

/// y of [`crate::causal_conv1d()`]: a sum of shifted products.
pub fn causal_conv1d(
    x: Tensor<3>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    initial_state: Option<Tensor<3>>,
    activate: bool,
) -> Tensor<3> {
    let [batch, len, channels] = x.dims();
    let [_, width] = weight.dims();
    let before = match initial_state {
        Some(state) => Some(state.swap_dims(1, 2)),
        None => Some(Tensor::zeros(
            [batch, width - 1, channels],
            (&x.device(), x.dtype()),
        )),
    };
    let padded = match before.filter(|_| width > 1) {
        Some(before) => Tensor::cat(vec![before, x], 1),
        None => x,
    };
    let mut y: Option<Tensor<3>> = bias.map(|bias| bias.reshape([1, 1, channels]));
    for tap in 0..width {
        let weight = weight.clone().narrow(1, tap, 1).reshape([1, 1, channels]);
        // `narrow` does not take a length of 0.
        let window = [0..batch, tap..tap + len, 0..channels];
        let product = padded.clone().slice(window) * weight;
        y = Some(match y {
            Some(y) => y + product,
            None => product,
        });
    }
    let y = y.expect("the width is at least 1");
    if activate { silu(y) } else { y }
}

/// `(y, next state)` of [`crate::causal_conv1d_step()`].
pub fn causal_conv1d_step(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    state: Tensor<3>,
    activate: bool,
) -> (Tensor<2>, Tensor<3>) {
    let [_, width] = weight.dims();
    let now = x.unsqueeze_dim::<3>(2);
    let window = match width {
        1 => now,
        _ => Tensor::cat(vec![state.clone(), now], 2),
    };
    let next = match width {
        1 => state,
        _ => window.clone().narrow(2, 1, width - 1),
    };
    let mut y = (window * weight.unsqueeze::<3>())
        .sum_dim(2)
        .squeeze_dim::<2>(2);
    if let Some(bias) = bias {
        y = y + bias.unsqueeze::<2>();
    }
    (if activate { silu(y) } else { y }, next)
}
