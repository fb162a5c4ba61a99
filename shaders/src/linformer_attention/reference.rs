//! Linformer attention in plain Burn operations: the alternative that benchmarks name, and an oracle of the tests.

use burn::tensor::{Tensor, TensorData};

use crate::Lengths;
use crate::softmax_attention::reference::attend;

/// The same as [`linformer_attention`](crate::linformer_attention()).
pub fn linformer_attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    proj_key: Tensor<2>,
    proj_value: Tensor<2>,
    lengths: &Lengths,
) -> Tensor<4> {
    let [_, slots] = proj_key.dims();
    let key = project(key, proj_key, lengths);
    let value = project(value, proj_value, lengths);
    attend(
        query,
        key,
        value,
        lengths,
        &Lengths::full(lengths.batch(), slots),
        false,
    )
}

/// `Eᵀ[..n] X / √n` for each sample: `[B, L, H, P]` and `[max_len, k]` to `[B, k, H, P]`.
pub fn project(input: Tensor<4>, projection: Tensor<2>, lengths: &Lengths) -> Tensor<4> {
    let [batch, len, heads, width] = input.dims();
    let slots = projection.dims()[1];
    let (device, dtype) = (input.device(), input.dtype());
    // Burn narrows to no fewer than one row, and its CPU product takes no samples by one matrix for one sample.
    if input.dims().contains(&0) || projection.dims().contains(&0) {
        return Tensor::zeros([batch, slots, heads, width], (&device, dtype));
    }
    let mut scale = lengths.mask(len);
    for (b, &n) in lengths.as_slice().iter().enumerate() {
        scale[b * len..(b + 1) * len]
            .iter_mut()
            .for_each(|value| *value /= (n.max(1) as f32).sqrt());
    }
    let scale = TensorData::new(scale, [batch, len, 1]);
    let scale = Tensor::<3>::from_data(scale, (&device, dtype));
    // Projections have rows for the longest sample; the batch may be padded beyond them.
    let rows = projection.dims()[0].min(len);
    let input = (input.reshape([batch, len, heads * width]) * scale).narrow(1, 0, rows);
    let projection = projection.narrow(0, 0, rows).transpose().unsqueeze::<3>();
    projection
        .matmul(input)
        .reshape([batch, slots, heads, width])
}
