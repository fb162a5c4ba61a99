//! The encoder's parts. Shapes: B batch, T frames, H hidden size.

use burn::tensor::Tensor;
use caldera_shaders::Lengths;

use super::config::SpeechConfig;
use super::features::{FeatureEncoder, FeatureProjection};
use super::mixer::FrameMixer;
use super::positional::PositionalConvolution;
use crate::layers::{LayerNorm, Linear, ParameterMut, ParameterRef, Walk, dropout, parameters};

/// What a layer needs beyond its input and its parameters.
pub(crate) struct Context<'a> {
    pub config: &'a SpeechConfig,
    pub lengths: &'a Lengths,
    pub training: bool,
}

impl Context<'_> {
    /// Dropout in training.
    pub fn drop(&self, x: Tensor<3>, probability: f64) -> Tensor<3> {
        dropout(x, if self.training { probability } else { 0.0 })
    }
}

/// A mixer, then a feed-forward block.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub mixer: FrameMixer,
    pub layer_norm: LayerNorm,
    pub intermediate_dense: Linear,
    pub output_dense: Linear,
    pub final_layer_norm: LayerNorm,
}
parameters!(Layer {
    mixer => "attention",
    layer_norm => "layer_norm",
    intermediate_dense => "feed_forward.intermediate_dense",
    output_dense => "feed_forward.output_dense",
    final_layer_norm => "final_layer_norm",
});

impl Layer {
    /// [B, T, H] to the same: norms behind the parts, or before them with `do_stable_layer_norm`.
    pub fn forward(
        &self,
        x: Tensor<3>,
        context: &Context<'_>,
        keys: &mut dyn FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let config = context.config;
        let (eps, stable) = (config.layer_norm_eps, config.do_stable_layer_norm);
        let before = |norm: &LayerNorm, x: &Tensor<3>| match stable {
            true => norm.forward(x.clone(), eps),
            false => x.clone(),
        };
        let behind = |norm: &LayerNorm, x: Tensor<3>| match stable {
            true => x,
            false => norm.forward(x, eps),
        };
        let heads = config.num_attention_heads;
        let mixed = before(&self.layer_norm, &x);
        let mixed = self.mixer.forward(mixed, context.lengths, heads, keys);
        let x = x + context.drop(mixed, config.hidden_dropout);
        let x = behind(&self.layer_norm, x);
        let inner = before(&self.final_layer_norm, &x);
        let inner = self.intermediate_dense.forward(inner);
        let inner = config.hidden_act.forward(inner);
        let inner = context.drop(inner, config.activation_dropout);
        let out = context.drop(self.output_dense.forward(inner), config.hidden_dropout);
        behind(&self.final_layer_norm, x + out)
    }
}

/// Everything below the head.
#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    pub features: FeatureEncoder,
    pub projection: FeatureProjection,
    /// [H]: what stands for a hidden frame in training. Absent in models that were saved without it.
    pub masked_spec_embed: Option<Tensor<1>>,
    pub positional: PositionalConvolution,
    /// Before the first layer, or with `do_stable_layer_norm` behind the last.
    pub layer_norm: LayerNorm,
    pub layers: Vec<Layer>,
}
parameters!(Encoder {
    features => "feature_extractor",
    projection => "feature_projection",
    masked_spec_embed => "masked_spec_embed",
    positional => "encoder.pos_conv_embed",
    layer_norm => "encoder.layer_norm",
    layers => "encoder.layers",
});

/// What stands on the encoder.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a model has one")]
pub(crate) enum Head {
    /// Characters of every frame.
    Ctc(Linear),
    /// The mean of the projected frames, classified.
    Classifier {
        projector: Linear,
        classifier: Linear,
    },
}

impl Walk for Head {
    fn walk(&self, _: &str, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
        match self {
            Self::Ctc(head) => head.walk("lm_head", visit),
            Self::Classifier {
                projector,
                classifier,
            } => {
                projector.walk("projector", visit);
                classifier.walk("classifier", visit);
            }
        }
    }
    fn walk_mut(&mut self, _: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        match self {
            Self::Ctc(head) => head.walk_mut("lm_head", visit),
            Self::Classifier {
                projector,
                classifier,
            } => {
                projector.walk_mut("projector", visit);
                classifier.walk_mut("classifier", visit);
            }
        }
    }
}
