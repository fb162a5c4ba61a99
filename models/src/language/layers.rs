//! The layers of language models. Shapes: B batch, L length, H hidden size.

use burn::tensor::Tensor;
use caldera_shaders::Lengths;

use super::attention::Attention;
use super::rotary::Rotary;
use super::state::{KeyValueCache, LayerState};
use crate::layers::{
    Activation, LayerNorm, Linear, ParameterMut, ParameterRef, RmsNorm, Walk, dotted, dropout,
    parameters,
};
use crate::mamba::StateSpaceMixer;

/// What a layer needs beyond its input and its parameters.
pub(crate) struct Context<'a> {
    pub lengths: &'a Lengths,
    /// Of the positions at hand.
    pub rotary: Rotary,
    /// Heads of attention.
    pub heads: usize,
    pub norm_eps: f64,
    pub parallel: bool,
    pub activation: Activation,
    /// `hidden_dropout`, or 0 in evaluation.
    pub dropout: f64,
    /// The longest that a cache of keys and values becomes.
    pub max_length: usize,
}

/// What mixes the positions of a layer.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a model has one a layer")]
pub(crate) enum TokenMixer {
    Attention(Attention),
    StateSpace(StateSpaceMixer),
}

impl TokenMixer {
    /// [B, L, H] to the same; with `remember` also what `step` needs to go on after the last position.
    fn forward(
        &self,
        x: Tensor<3>,
        context: &Context<'_>,
        remember: bool,
    ) -> (Tensor<3>, Option<LayerState>) {
        match self {
            Self::Attention(attention) => {
                let (y, pair) = attention.forward(x, context);
                let cache = || LayerState::Attention(KeyValueCache::new(pair, context.max_length));
                (y, remember.then(cache))
            }
            Self::StateSpace(mixer) => {
                let (y, state) = mixer.forward(x);
                (y, remember.then_some(LayerState::StateSpace(state)))
            }
        }
    }

    /// One more token [B, H].
    fn step(
        &self,
        x: Tensor<2>,
        state: LayerState,
        context: &Context<'_>,
    ) -> (Tensor<2>, LayerState) {
        match (self, state) {
            (Self::Attention(attention), LayerState::Attention(cache)) => {
                let (y, cache) = attention.step(x, cache, context);
                (y, LayerState::Attention(cache))
            }
            (Self::StateSpace(mixer), LayerState::StateSpace(state)) => {
                let (y, state) = mixer.step(x, state);
                (y, LayerState::StateSpace(state))
            }
            _ => panic!("step: the state belongs to a model with another mixer"),
        }
    }
}

impl Walk for TokenMixer {
    fn walk(&self, name: &str, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
        match self {
            Self::Attention(attention) => attention.walk(name, visit),
            Self::StateSpace(mixer) => mixer.walk(&dotted(name, "mamba"), visit),
        }
    }
    fn walk_mut(&mut self, name: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        match self {
            Self::Attention(attention) => attention.walk_mut(name, visit),
            Self::StateSpace(mixer) => mixer.walk_mut(&dotted(name, "mamba"), visit),
        }
    }
}

/// A layer of GPT-NeoX: a mixer and a feed-forward block.
#[derive(Debug, Clone)]
pub(crate) struct GptNeoXLayer {
    pub input_layernorm: LayerNorm,
    pub post_attention_layernorm: LayerNorm,
    pub mixer: TokenMixer,
    pub dense_h_to_4h: Linear,
    pub dense_4h_to_h: Linear,
}
parameters!(GptNeoXLayer {
    input_layernorm => "input_layernorm",
    mixer => "attention",
    post_attention_layernorm => "post_attention_layernorm",
    dense_h_to_4h => "mlp.dense_h_to_4h",
    dense_4h_to_h => "mlp.dense_4h_to_h",
});

impl GptNeoXLayer {
    /// The layer round its mixer, for whole sequences and for single tokens.
    fn around<const D: usize>(
        &self,
        x: Tensor<D>,
        context: &Context<'_>,
        mix: impl FnOnce(&TokenMixer, Tensor<D>) -> Tensor<D>,
    ) -> Tensor<D> {
        let eps = context.norm_eps;
        let mixed = mix(&self.mixer, self.input_layernorm.forward(x.clone(), eps));
        let mixed = dropout(mixed, context.dropout);
        let feed = |x: Tensor<D>| {
            let normed = self.post_attention_layernorm.forward(x, eps);
            let wide = context
                .activation
                .forward(self.dense_h_to_4h.forward(normed));
            dropout(self.dense_4h_to_h.forward(wide), context.dropout)
        };
        if context.parallel {
            feed(x.clone()) + mixed + x
        } else {
            let x = mixed + x;
            feed(x.clone()) + x
        }
    }
}

/// A layer of a pure Mamba: x + mixer(norm x).
#[derive(Debug, Clone)]
pub(crate) struct MambaLayer {
    pub norm: RmsNorm,
    pub mixer: StateSpaceMixer,
}
parameters!(MambaLayer { norm => "norm", mixer => "mixer" });

/// A layer of either architecture.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a model has one kind of them")]
pub(crate) enum Layer {
    GptNeoX(GptNeoXLayer),
    Mamba(MambaLayer),
}

impl Layer {
    /// [B, L, H] to the same; with `remember` also what `step` needs to go on after the last position.
    pub fn forward(
        &self,
        x: Tensor<3>,
        context: &Context<'_>,
        remember: bool,
    ) -> (Tensor<3>, Option<LayerState>) {
        match self {
            Self::GptNeoX(layer) => {
                let mut state = None;
                let y = layer.around(x, context, |mixer, x| {
                    let (y, after) = mixer.forward(x, context, remember);
                    state = after;
                    y
                });
                (y, state)
            }
            Self::Mamba(layer) => {
                let normed = layer.norm.forward(x.clone(), context.norm_eps);
                let (y, state) = layer.mixer.forward(normed);
                (y + x, remember.then_some(LayerState::StateSpace(state)))
            }
        }
    }

    /// One more token [B, H].
    ///
    /// # Panics
    /// When the state is that of another mixer.
    pub fn step(
        &self,
        x: Tensor<2>,
        state: LayerState,
        context: &Context<'_>,
    ) -> (Tensor<2>, LayerState) {
        match (self, state) {
            (Self::GptNeoX(layer), state) => {
                let mut after = None;
                let y = layer.around(x, context, |mixer, x| {
                    let (y, state) = mixer.step(x, state, context);
                    after = Some(state);
                    y
                });
                (y, after.expect("the mixer ran"))
            }
            (Self::Mamba(layer), LayerState::StateSpace(state)) => {
                let normed = layer.norm.forward(x.clone(), context.norm_eps);
                let (y, state) = layer.mixer.step(normed, state);
                (y + x, LayerState::StateSpace(state))
            }
            _ => panic!("step: the state belongs to a model with another mixer"),
        }
    }
}

impl Walk for Layer {
    fn walk(&self, name: &str, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
        match self {
            Self::GptNeoX(layer) => layer.walk(name, visit),
            Self::Mamba(layer) => layer.walk(name, visit),
        }
    }
    fn walk_mut(&mut self, name: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        match self {
            Self::GptNeoX(layer) => layer.walk_mut(name, visit),
            Self::Mamba(layer) => layer.walk_mut(name, visit),
        }
    }
}

/// The norm behind the last layer.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a model has one")]
pub(crate) enum FinalNorm {
    Layer(LayerNorm),
    Rms(RmsNorm),
}

impl FinalNorm {
    pub fn forward<const D: usize>(&self, x: Tensor<D>, eps: f64) -> Tensor<D> {
        match self {
            Self::Layer(norm) => norm.forward(x, eps),
            Self::Rms(norm) => norm.forward(x, eps),
        }
    }
}

impl Walk for FinalNorm {
    fn walk(&self, name: &str, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
        match self {
            Self::Layer(norm) => norm.walk(name, visit),
            Self::Rms(norm) => norm.walk(name, visit),
        }
    }
    fn walk_mut(&mut self, name: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        match self {
            Self::Layer(norm) => norm.walk_mut(name, visit),
            Self::Rms(norm) => norm.walk_mut(name, visit),
        }
    }
}
