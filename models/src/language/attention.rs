//! GPT-NeoX's attention. Shapes: B batch, L length, H hidden size, N heads, P head width, C capacity of the cache.

use burn::tensor::Tensor;
use caldera_shaders::{softmax_attention, softmax_attention_step};

use super::layers::Context;
use super::state::KeyValueCache;
use crate::layers::{Linear, parameters};

/// Causal softmax attention with rotary positions.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    /// [3 H, H]: head by head its query, key and value.
    pub query_key_value: Linear,
    pub dense: Linear,
}
parameters!(Attention { query_key_value => "query_key_value", dense => "dense" });

impl Attention {
    /// Query, key and value [B, L, N, P] of x [B, L, H], the first two rotated.
    fn project(&self, x: Tensor<3>, context: &Context<'_>) -> [Tensor<4>; 3] {
        let [b, l, h] = x.dims();
        let width = h / context.heads;
        let packed = self.query_key_value.forward(x);
        let packed = packed.reshape([b, l, context.heads, 3 * width]);
        context.rotary.take_apart(packed)
    }

    /// [B, L, H] to the same; keys and values [B, L, N, P] beside it.
    pub fn forward(&self, x: Tensor<3>, context: &Context<'_>) -> (Tensor<3>, [Tensor<4>; 2]) {
        let dims = x.dims();
        let [query, key, value] = self.project(x, context);
        let mixed = softmax_attention(query, key.clone(), value.clone(), context.lengths, true);
        (self.dense.forward(mixed.reshape(dims)), [key, value])
    }

    /// One more token [B, H], which joins the cache.
    pub fn step(
        &self,
        x: Tensor<2>,
        cache: KeyValueCache,
        context: &Context<'_>,
    ) -> (Tensor<2>, KeyValueCache) {
        let [b, h] = x.dims();
        let width = h / context.heads;
        let [query, key, value] = self.project(x.reshape([b, 1, h]), context);
        let cache = cache.push(key, value);
        let query = query.reshape([b, context.heads, width]);
        let (keys, values) = (cache.key.clone(), cache.value.clone());
        let mixed = softmax_attention_step(query, keys, values, cache.filled);
        (self.dense.forward(mixed.reshape([b, h])), cache)
    }
}
