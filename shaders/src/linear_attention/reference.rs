//! Linear attention in plain Burn operations: the alternative that benchmarks name, and an oracle of the tests.

use burn::tensor::{Tensor, TensorData};

use super::{EPS, LinearAttentionOutput};
use crate::Lengths;

/// Positions of a chunk of [`causal_chunked`].
const CHUNK: usize = 64;

/// elu(x) + 1: eˣ up to 0, x + 1 above.
pub fn features<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone().clamp_max(0.0).exp() + x.clamp_min(0.0)
}

/// The same as [`linear_attention`](crate::linear_attention()); causal by `causal_whole`.
pub fn linear_attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    lengths: &Lengths,
    causal: bool,
) -> LinearAttentionOutput {
    // Burn does not reshape every empty tensor.
    if query.dims().contains(&0) {
        let [batch, _, heads, width] = query.dims();
        let device = query.device();
        let options = (&device, query.dtype());
        return LinearAttentionOutput {
            kv: Tensor::zeros([batch, heads, width, width], options),
            z: Tensor::zeros([batch, heads, width], options),
            y: query,
        };
    }
    let (query, key, value, mask) = prepare(query, key, value, lengths);
    let (kv, z) = sums(key.clone(), value.clone());
    let y = if causal {
        causal_whole(query, key, value)
    } else {
        let normaliser = query.clone().matmul(z.clone().unsqueeze_dim(3)) + EPS;
        query.matmul(kv.clone()) / normaliser
    };
    LinearAttentionOutput {
        y: (y * mask).swap_dims(1, 2),
        kv: kv.detach(),
        z: z.detach(),
    }
}

/// Causal linear attention by `causal_chunked`: y alone.
pub fn linear_attention_chunked(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    lengths: &Lengths,
) -> Tensor<4> {
    if query.dims().contains(&0) {
        return query;
    }
    let (query, key, value, mask) = prepare(query, key, value, lengths);
    (causal_chunked(query, key, value) * mask).swap_dims(1, 2)
}

/// φ(q), φ(k) and v as `[B, H, L, P]`, the latter two zero at padded positions, and the mask `[B, 1, L, 1]`.
fn prepare(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    lengths: &Lengths,
) -> (Tensor<4>, Tensor<4>, Tensor<4>, Tensor<4>) {
    let [batch, len, _, _] = query.dims();
    let mask = TensorData::new(lengths.mask(len), [batch, 1, len, 1]);
    let mask = Tensor::<4>::from_data(mask, (&query.device(), query.dtype()));
    let [query, key, value] = [query, key, value].map(|tensor| tensor.swap_dims(1, 2));
    let key = features(key) * mask.clone();
    (features(query), key, value * mask.clone(), mask)
}

/// Σ φ(k) vᵀ and Σ φ(k) over all positions.
fn sums(key: Tensor<4>, value: Tensor<4>) -> (Tensor<4>, Tensor<3>) {
    let z = key.clone().sum_dim(2).squeeze_dim(2);
    (key.transpose().matmul(value), z)
}

/// Ones at and below the diagonal.
fn lower_triangle(len: usize) -> TensorData {
    let mask: Vec<f32> = (0..len * len)
        .map(|at| if at % len <= at / len { 1.0 } else { 0.0 })
        .collect();
    TensorData::new(mask, [len, len])
}

/// With the whole `[B, H, L, L]` matrix of weights: the faster plain form for short texts.
fn causal_whole(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<4> {
    let triangle = lower_triangle(query.dims()[2]);
    let triangle = Tensor::<2>::from_data(triangle, (&query.device(), query.dtype()));
    let weights = query.matmul(key.transpose()) * triangle.unsqueeze();
    let normaliser = weights.clone().sum_dim(3) + EPS;
    weights.matmul(value) / normaliser
}

/// With sums over chunks of 64 positions: the faster plain form for long texts.
fn causal_chunked(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<4> {
    let [batch, heads, len, width] = query.dims();
    let (device, dtype) = (query.device(), query.dtype());
    let chunks = len.div_ceil(CHUNK);
    let padding = chunks * CHUNK - len;
    let cut = |tensor: Tensor<4>| -> Tensor<5> {
        let zeros = Tensor::<4>::zeros([batch, heads, padding, width], (&device, dtype));
        let whole = if padding > 0 {
            Tensor::cat(vec![tensor, zeros], 2)
        } else {
            tensor
        };
        whole.reshape([batch, heads, chunks, CHUNK, width])
    };
    let [query, key, value] = [query, key, value].map(cut);
    let triangle = Tensor::<2>::from_data(lower_triangle(CHUNK), (&device, dtype));
    let kv = key.clone().transpose().matmul(value.clone());
    let z = key.clone().sum_dim(3).transpose();
    // Exclusive: what lies before the chunk.
    let (kv, z) = (kv.clone().cumsum(2) - kv, z.clone().cumsum(2) - z);
    let weights = query.clone().matmul(key.transpose()) * triangle.unsqueeze();
    let normaliser = query.clone().matmul(z) + weights.clone().sum_dim(4) + EPS;
    let y = (query.matmul(kv) + weights.matmul(value)) / normaliser;
    y.reshape([batch, heads, chunks * CHUNK, width])
        .narrow(2, 0, len)
}
