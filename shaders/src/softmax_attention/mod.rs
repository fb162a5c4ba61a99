//! Softmax attention over right-padded batches, by key padding or causal.

pub mod reference;

use burn::tensor::Tensor;

use crate::Lengths;

/// `softmax(Q Kᵀ / √P) V` over the real keys of each sample, and with `causal` over keys at or before the query.
///
/// `query`, `key`, `value`: `[B, L, H, P]`. Result `[B, L, H, P]`; rows at padded positions are zero.
pub fn softmax_attention(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, lengths: &Lengths, causal: bool) -> Tensor<4> {
    reference::softmax_attention(query, key, value, lengths, causal)
}
