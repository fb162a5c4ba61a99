//! The operators of Mamba as loops of plain tensor operations, until those of `caldera-shaders` stand in.

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

pub(crate) struct ScanInput {
    pub u: Tensor<3>,
    pub delta: Tensor<3>,
    pub a: Tensor<2>,
    pub b: Tensor<3>,
    pub c: Tensor<3>,
    pub d: Tensor<1>,
    pub z: Option<Tensor<3>>,
    pub delta_bias: Tensor<1>,
    pub initial_state: Option<Tensor<3>>,
}

pub(crate) struct ScanOutput {
    pub y: Tensor<3>,
    pub last_state: Tensor<3>,
}

pub(crate) fn selective_scan(input: ScanInput) -> ScanOutput {
    let [b, l, d] = input.u.dims();
    let mut state = input
        .initial_state
        .unwrap_or_else(|| Tensor::zeros([b, d, input.a.dims()[1]], &input.u.device()));
    let mut rows = Vec::new();
    for t in 0..l {
        let at = |x: &Tensor<3>| {
            let width = x.dims()[2];
            x.clone().narrow(1, t, 1).reshape([b, width])
        };
        let (y, after) = selective_scan_step(ScanStepInput {
            u: at(&input.u),
            delta: at(&input.delta),
            a: input.a.clone(),
            b: at(&input.b),
            c: at(&input.c),
            d: input.d.clone(),
            z: input.z.as_ref().map(at),
            delta_bias: input.delta_bias.clone(),
            state,
        });
        state = after;
        rows.push(y.reshape([b, 1, d]));
    }
    ScanOutput {
        y: Tensor::cat(rows, 1),
        last_state: state,
    }
}

pub(crate) struct ScanStepInput {
    pub u: Tensor<2>,
    pub delta: Tensor<2>,
    pub a: Tensor<2>,
    pub b: Tensor<2>,
    pub c: Tensor<2>,
    pub d: Tensor<1>,
    pub z: Option<Tensor<2>>,
    pub delta_bias: Tensor<1>,
    pub state: Tensor<3>,
}

pub(crate) fn selective_scan_step(input: ScanStepInput) -> (Tensor<2>, Tensor<3>) {
    let [b, d] = input.u.dims();
    let n = input.a.dims()[1];
    let dt = activation::softplus(input.delta + input.delta_bias.reshape([1, d]), 1.0);
    let decay = (dt.clone().reshape([b, d, 1]) * input.a.reshape([1, d, n])).exp();
    let push = (dt * input.u.clone()).reshape([b, d, 1]) * input.b.reshape([b, 1, n]);
    let state = decay * input.state + push;
    let y = (state.clone() * input.c.reshape([b, 1, n])).sum_dim(2);
    let y = y.reshape([b, d]) + input.u * input.d.reshape([1, d]);
    let y = match input.z {
        Some(z) => y * activation::silu(z),
        None => y,
    };
    (y, state)
}
