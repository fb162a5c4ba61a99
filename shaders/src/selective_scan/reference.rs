//! The selective scan in plain Burn tensor operations, position by position: the alternative that benchmarks name.

use burn::tensor::{Tensor, activation::sigmoid};

use super::{ScanInput, ScanOutput, ScanStepInput};

/// The same as [`selective_scan`](super::selective_scan()), with decays and inputs of every position `[B, L, D, N]` in memory
/// and a loop over the positions.
pub fn selective_scan(input: ScanInput) -> ScanOutput {
    let [batch, len, width] = input.u.dims();
    let state = input.a.dims()[1];
    let mut h = match input.initial_state {
        Some(initial) => initial.detach(),
        None => Tensor::<3>::zeros([batch, width, state], (&input.u.device(), input.u.dtype())),
    };
    let bias = input.delta_bias.reshape([1, 1, width]);
    let dt = softplus(input.delta + bias).reshape([batch, len, width, 1]);
    let decay = (dt.clone() * input.a.reshape([1, 1, width, state])).exp();
    let u = input.u.clone().reshape([batch, len, width, 1]);
    let enters = dt * u * input.b.reshape([batch, len, 1, state]);
    let mut rows = Vec::with_capacity(len);
    for t in 0..len {
        let at = |tensor: &Tensor<4>| {
            tensor
                .clone()
                .narrow(1, t, 1)
                .reshape([batch, width, state])
        };
        h = h * at(&decay) + at(&enters);
        let c = input.c.clone().narrow(1, t, 1);
        rows.push((h.clone() * c).sum_dim(2).reshape([batch, 1, width]));
    }
    let skip = input.u * input.d.reshape([1, 1, width]);
    let mut y = match rows.is_empty() {
        true => skip,
        false => Tensor::cat(rows, 1) + skip,
    };
    if let Some(z) = input.z {
        y = y * z.clone() * sigmoid(z);
    }
    ScanOutput {
        y,
        last_state: h.detach(),
    }
}

/// The same as [`selective_scan_step`](super::selective_scan_step()).
pub fn selective_scan_step(input: ScanStepInput) -> (Tensor<2>, Tensor<3>) {
    let scan = selective_scan(ScanInput {
        u: input.u.unsqueeze_dim(1),
        delta: input.delta.unsqueeze_dim(1),
        a: input.a,
        b: input.b.unsqueeze_dim(1),
        c: input.c.unsqueeze_dim(1),
        d: input.d,
        z: input.z.map(|z| z.unsqueeze_dim(1)),
        delta_bias: input.delta_bias,
        initial_state: Some(input.state),
    });
    (scan.y.squeeze_dim(1), scan.last_state)
}

/// log(1 + e^x) without an overflow.
fn softplus(x: Tensor<3>) -> Tensor<3> {
    x.clone().clamp_min(0.0) + x.abs().neg().exp().log1p()
}
