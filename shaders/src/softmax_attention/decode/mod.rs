//! Softmax attention of one new token against a cache of keys and values: the transformer's side of generation.

mod cpu;
mod launch;
#[cfg(test)]
mod tests;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeBackend;

use super::{MAX_WIDTH, reference};
use crate::Lengths;

/// `softmax(q Kᵀ / √P) V` of one query over the first `filled` positions of a cache.
///
/// `query`: `[B, H, P]`; `key_cache`, `value_cache`: `[B, C, H, P]`, C the capacity: what lies at `filled` and behind is
/// not read. Result `[B, H, P]`, zeros when `filled` is 0. The cache is split along its positions and the parts are
/// combined as in Flash-Decoding (Dao et al. 2023), so that one token occupies the whole device. Forward only: tensors of
/// an autodiff graph must be taken off it (`inner`). Tensors that are not of f32, and heads wider than
/// [`MAX_WIDTH`], take [the plain form](mod@reference).
///
/// Memory beside the cache, in values: B · H · (P + 2) for each part of it. On the GPU at most 32 parts of 64 to 1,024 positions (more
/// parts from 32,768 positions on), on the CPU one for every 128.
///
/// # Panics
/// When the shapes differ or `filled` is more than C.
pub fn softmax_attention_step(
    query: Tensor<3>,
    key_cache: Tensor<4>,
    value_cache: Tensor<4>,
    filled: usize,
) -> Tensor<3> {
    let [batch, heads, width] = query.dims();
    let [key_batch, capacity, key_heads, key_width] = key_cache.dims();
    assert!(
        [key_batch, key_heads, key_width] == [batch, heads, width]
            && value_cache.dims() == key_cache.dims(),
        "softmax_attention_step: query is {:?}, so both caches must be [{batch}, C, {heads}, {width}]; found {:?} and {:?}",
        query.dims(),
        key_cache.dims(),
        value_cache.dims()
    );
    assert!(
        filled <= capacity,
        "softmax_attention_step: {filled} positions are said to be filled, the cache holds {capacity}"
    );
    if filled == 0 || query.dims().contains(&0) {
        return query.zeros_like();
    }
    let f32 = [query.dtype(), key_cache.dtype(), value_cache.dtype()] == [DType::F32; 3];
    if !f32 || width > MAX_WIDTH {
        let (one, keys) = (Lengths::full(batch, 1), Lengths::full(batch, filled));
        let [key, value] = [key_cache, value_cache].map(|cache| cache.narrow(1, 0, filled));
        let query = query.unsqueeze_dim::<4>(1);
        return reference::attend(query, key, value, &one, &keys, false).squeeze_dim(1);
    }
    Tensor::from_dispatch(Dispatch::cached_attention(
        query.into_dispatch(),
        key_cache.into_dispatch(),
        value_cache.into_dispatch(),
        filled,
    ))
}

/// Attention against a cache as an operation of the dispatching backend; called through [`softmax_attention_step`].
#[backend_extension(Cube, Flex)]
pub trait CachedAttentionOps: Backend {
    /// `query` `[B, H, P]`, caches `[B, C, H, P]`, `filled` of 1 to C.
    fn cached_attention(
        query: FloatTensor<Self>,
        key_cache: FloatTensor<Self>,
        value_cache: FloatTensor<Self>,
        filled: usize,
    ) -> FloatTensor<Self>;
}

macro_rules! pass {
    ($backend:ty, $module:ident) => {
        impl CachedAttentionOps for $backend {
            fn cached_attention(
                query: FloatTensor<Self>,
                key_cache: FloatTensor<Self>,
                value_cache: FloatTensor<Self>,
                filled: usize,
            ) -> FloatTensor<Self> {
                $module::forward(query, key_cache, value_cache, filled)
            }
        }
    };
}

pass!(CubeBackend, launch);
pass!(Flex, cpu);
