//! Linformer attention: keys and values are projected from the sample's length to `k` slots first.

pub mod reference;

use burn::tensor::Tensor;

use crate::Lengths;

/// `softmax(Q K'ᵀ / √P) V'` with `K' = Eᵀ[..n] K / √n`, `V' = Fᵀ[..n] V / √n`, `n` the sample's own length.
pub fn linformer_attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    proj_key: Tensor<2>,
    proj_value: Tensor<2>,
    lengths: &Lengths,
) -> Tensor<4> {
    reference::linformer_attention(query, key, value, proj_key, proj_value, lengths)
}
