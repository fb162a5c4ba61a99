//! Softmax attention in plain Burn operations: the alternative that benchmarks name, and an oracle of the tests.

use burn::tensor::{DType, Tensor, TensorData, activation::softmax};

use crate::Lengths;

/// The same as [`softmax_attention`](crate::softmax_attention()), with the whole `[B, H, L, L]` matrix of weights in memory.
pub fn softmax_attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    lengths: &Lengths,
    causal: bool,
) -> Tensor<4> {
    attend(query, key, value, lengths, lengths, causal)
}

/// Attention whose queries and keys have lengths of their own. Rows of padded queries, and of queries without keys, are zero.
pub fn attend(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    query_lengths: &Lengths,
    key_lengths: &Lengths,
    causal: bool,
) -> Tensor<4> {
    let [batch, query_len, _, width] = query.dims();
    let key_len = key.dims()[1];
    if query.dims().contains(&0) {
        return query;
    }
    // Over no keys a softmax has no maximum to subtract.
    if key_len == 0 {
        return query.zeros_like();
    }
    let (device, dtype) = (query.device(), query.dtype());
    let [query, key, value] = [query, key, value].map(|tensor| tensor.swap_dims(1, 2));
    let scores = query.matmul(key.transpose()) / (width as f64).sqrt();
    // 0 where a query may see a key; far below every score, yet finite, where it may not. f16 ends at 65,504.
    let unseen = if dtype == DType::F16 { -3e4 } else { -1e30f32 };
    let mut bias = vec![unseen; batch * query_len * key_len];
    let mut seen = vec![0f32; batch * query_len];
    for b in 0..batch {
        let (queries, keys) = (
            query_lengths.as_slice()[b] as usize,
            key_lengths.as_slice()[b] as usize,
        );
        for i in 0..query_len {
            let visible = if causal { keys.min(i + 1) } else { keys };
            let row = (b * query_len + i) * key_len;
            bias[row..row + visible].fill(0.0);
            seen[b * query_len + i] = if i < queries && visible > 0 { 1.0 } else { 0.0 };
        }
    }
    let bias = Tensor::<4>::from_data(
        TensorData::new(bias, [batch, 1, query_len, key_len]),
        (&device, dtype),
    );
    let seen = TensorData::new(seen, [batch, 1, query_len, 1]);
    let seen = Tensor::<4>::from_data(seen, (&device, dtype));
    let weights = softmax(scores + bias, 3);
    (weights.matmul(value) * seen).swap_dims(1, 2)
}
