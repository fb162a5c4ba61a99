//! The scan of Mamba-2 in plain Burn operations, in chunks too (a loop over the positions is slower): the alternative that
//! benchmarks name, and an oracle of the tests.

use burn::tensor::activation::softplus;
use burn::tensor::{DType, Device, Tensor, TensorData};

use super::{CHUNK, SsdInput, SsdOutput};

/// The same as [`ssd`](crate::ssd()).
pub fn ssd(input: SsdInput) -> SsdOutput {
    let [batch, len, heads, width] = input.x.dims();
    let [_, _, groups, state] = input.b.dims();
    let (device, dtype) = (input.x.device(), input.x.dtype());
    let initial_state = input.initial_state.map(Tensor::detach);
    if input.x.dims().contains(&0) || input.b.dims().contains(&0) {
        let zeros = || Tensor::zeros([batch, heads, width, state], (&device, dtype));
        return SsdOutput {
            y: input.x * input.d.reshape([1, 1, heads, 1]),
            final_state: initial_state.unwrap_or_else(zeros),
        };
    }
    let chunks = len.div_ceil(CHUNK);
    let padding = chunks * CHUNK - len;
    // Padded steps of size 0 change nothing.
    let dt = softplus(input.dt + input.dt_bias.unsqueeze::<3>(), 1.0);
    let dt = pad(dt, padding);
    let chunked = |tensor: Tensor<4>| {
        let [_, _, heads, width] = tensor.dims();
        pad(tensor, padding)
            .reshape([batch, chunks, CHUNK, heads, width])
            .permute([0, 3, 1, 2, 4])
    };
    let shared = |tensor: Tensor<4>| {
        chunked(tensor)
            .reshape([batch, groups, 1, chunks, CHUNK * state])
            .repeat_dim(2, heads / groups)
            .reshape([batch, heads, chunks, CHUNK, state])
    };
    let (x, b, c) = (chunked(input.x.clone()), shared(input.b), shared(input.c));
    let rows = |tensor: Tensor<3>| {
        tensor
            .reshape([batch, chunks, CHUNK, heads])
            .permute([0, 3, 1, 2])
            .reshape([batch, heads, chunks, CHUNK, 1])
    };
    let exponents = rows(dt.clone() * input.a.unsqueeze::<3>());
    let x = x * rows(dt);
    let lower = triangle(&device, dtype);
    let sums = lower.clone().unsqueeze::<5>().matmul(exponents);
    // Masked before the exponential: above the diagonal the differences are positive. f16 ends at 65,504, and infinity times
    // the zeros below is no number.
    let far = if dtype == DType::F16 { 3e4 } else { 1e30 };
    let above = (lower.unsqueeze::<5>() - 1.0) * far;
    let differences = (sums.clone() - sums.clone().swap_dims(3, 4)) + above;
    let scores = c.clone().matmul(b.clone().swap_dims(3, 4)) * differences.exp();
    let inside = scores.matmul(x.clone());
    let last = sums.clone().narrow(3, CHUNK - 1, 1);
    let added = (x * (last.clone() - sums.clone()).exp())
        .swap_dims(3, 4)
        .matmul(b);
    let decay = last.exp();
    let mut carried = initial_state.map_or_else(
        || Tensor::zeros([batch, heads, 1, width, state], (&device, dtype)),
        |state| state.unsqueeze_dim(2),
    );
    let mut states = Vec::with_capacity(chunks);
    for chunk in 0..chunks {
        states.push(carried.clone());
        carried = carried * decay.clone().narrow(2, chunk, 1) + added.clone().narrow(2, chunk, 1);
    }
    let before = Tensor::cat(states, 2);
    let across = (c * sums.exp()).matmul(before.swap_dims(3, 4));
    let y = (inside + across)
        .permute([0, 2, 3, 1, 4])
        .reshape([batch, chunks * CHUNK, heads, width])
        .narrow(1, 0, len);
    SsdOutput {
        y: y + input.x * input.d.reshape([1, 1, heads, 1]),
        final_state: carried.squeeze_dim(2).detach(),
    }
}

/// Zeros after the last position.
fn pad<const D: usize>(tensor: Tensor<D>, padding: usize) -> Tensor<D> {
    if padding == 0 {
        return tensor;
    }
    let mut dims = tensor.dims();
    dims[1] = padding;
    let zeros = Tensor::zeros(dims, (&tensor.device(), tensor.dtype()));
    Tensor::cat(vec![tensor, zeros], 1)
}

/// Ones on and below the diagonal.
fn triangle(device: &Device, dtype: DType) -> Tensor<2> {
    let ones: Vec<f32> = (0..CHUNK * CHUNK)
        .map(|at| if at % CHUNK <= at / CHUNK { 1.0 } else { 0.0 })
        .collect();
    Tensor::from_data(TensorData::new(ones, [CHUNK, CHUNK]), (device, dtype))
}
