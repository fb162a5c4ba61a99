//! What a model remembers of the tokens so far.

use burn::tensor::Tensor;

use super::{LanguageMixer, LanguageModel};
use crate::mamba::StateSpaceState;

/// Keys and values of the tokens so far, in buffers that are larger than need be.
#[derive(Debug, Clone)]
pub(crate) struct KeyValueCache {
    /// [B, C, N, P]
    pub key: Tensor<4>,
    /// [B, C, N, P]
    pub value: Tensor<4>,
    /// Positions that hold a token; the rest hold nothing of meaning.
    pub filled: usize,
    /// More than this is never needed: `max_position_embeddings`.
    most: usize,
}

/// Positions of the smallest cache.
const LEAST: usize = 16;

impl KeyValueCache {
    /// Of keys and values [B, L, N, P]; the capacity is the next power of two, `most` (or L) at the most.
    pub fn new([key, value]: [Tensor<4>; 2], most: usize) -> Self {
        let filled = key.dims()[1];
        let capacity = filled.next_power_of_two().max(LEAST).min(most.max(filled));
        Self {
            key: with_capacity(key, capacity),
            value: with_capacity(value, capacity),
            filled,
            most,
        }
    }

    /// One more token, [B, 1, N, P] each; a full cache doubles first.
    pub fn push(self, key: Tensor<4>, value: Tensor<4>) -> Self {
        let Self {
            key: mut keys,
            value: mut values,
            filled,
            most,
        } = self;
        let [b, capacity, n, p] = keys.dims();
        if filled == capacity {
            let capacity = (2 * capacity).min(most.max(filled + 1));
            keys = with_capacity(keys, capacity);
            values = with_capacity(values, capacity);
        }
        let place = [0..b, filled..filled + 1, 0..n, 0..p];
        Self {
            // The only handles of their buffers: written in place.
            key: keys.slice_assign(place.clone(), key),
            value: values.slice_assign(place, value),
            filled: filled + 1,
            most,
        }
    }
}

/// The same positions at the front of a buffer of `capacity`.
fn with_capacity(x: Tensor<4>, capacity: usize) -> Tensor<4> {
    let [b, l, n, p] = x.dims();
    if capacity == l {
        return x;
    }
    let empty = Tensor::zeros([b, capacity, n, p], &x.device());
    empty.slice_assign([0..b, 0..l, 0..n, 0..p], x)
}

/// What one layer remembers.
#[derive(Debug, Clone)]
pub(crate) enum LayerState {
    Attention(KeyValueCache),
    StateSpace(StateSpaceState),
}

impl LayerState {
    fn bytes(&self) -> usize {
        let elements = match self {
            Self::Attention(cache) => 2 * cache.key.shape().num_elements(),
            Self::StateSpace(state) => state.num_elements(),
        };
        elements * size_of::<f32>()
    }
}

/// What a model remembers of the tokens so far: a cache of keys and values, which grows with the text, or the states
/// of Mamba mixers, which do not.
#[derive(Debug, Clone)]
pub struct DecodeState {
    pub(crate) layers: Vec<LayerState>,
    pub(crate) tokens: usize,
}

impl DecodeState {
    /// Tokens so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// A state of one sample that stands for `tokens` tokens without having run them, all zeros: for timing steps at a
    /// context whose prefill would take too long. What a model says from it means nothing.
    pub fn blank(model: &LanguageModel, tokens: usize) -> Self {
        let (config, device) = (&model.config, model.device());
        let layer = |_| match config.mixer {
            LanguageMixer::Mamba(mamba) => {
                LayerState::StateSpace(StateSpaceState::mamba(&mamba, config.hidden_size, &device))
            }
            LanguageMixer::Mamba2(mamba) => {
                LayerState::StateSpace(StateSpaceState::mamba2(&mamba, &device))
            }
            LanguageMixer::Attention => {
                let heads = config.gpt_neox().map_or(1, |neox| neox.num_attention_heads);
                let empty =
                    || Tensor::zeros([1, tokens, heads, config.hidden_size / heads], &device);
                let most = config.max_length().unwrap_or(0);
                LayerState::Attention(KeyValueCache::new([empty(), empty()], most))
            }
        };
        let layers = (0..config.num_hidden_layers).map(layer).collect();
        Self { layers, tokens }
    }

    /// Goes back by `count` tokens, so that steps can be timed again at the same context. A cache of keys and values
    /// forgets them; a Mamba mixer's state cannot be undone and stays as it is, which no step's time depends on.
    ///
    /// # Panics
    /// When there are not that many tokens.
    pub fn rewind(&mut self, count: usize) {
        assert!(
            count <= self.tokens,
            "rewind: expected at most {} tokens, found {count}",
            self.tokens
        );
        self.tokens -= count;
        for layer in &mut self.layers {
            if let LayerState::Attention(cache) = layer {
                cache.filled -= count;
            }
        }
    }

    /// Bytes that it takes on the device. A cache counts with its capacity: the next power of two above the tokens
    /// (16 at least, `max_position_embeddings` at most), x 2 x layers x batch x `hidden_size` x 4. Mamba mixers:
    /// layers x batch x `expand` x `hidden_size` x (`d_conv` - 1 + `d_state`) x 4; Mamba-2 likewise,
    /// with B and C among the channels of the convolution.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(LayerState::bytes).sum()
    }
}
