//! From waveforms to hidden states and logits.

use burn::tensor::{Tensor, TensorData};
use caldera_shaders::Lengths;

use super::layers::{Context, Head};
use super::{SpeechBatch, SpeechModel};
use crate::ForwardOptions;

/// What a forward pass gives. B batch, T frames, H hidden size, V vocabulary, C classes. Padded frames hold values of no
/// meaning.
#[derive(Debug, Clone)]
pub struct SpeechOutput {
    /// [B, T, V] of a CTC model, [B, 1, C] of a classifier; None in a bare encoder.
    pub logits: Option<Tensor<3>>,
    /// [B, T, H] each: what enters the first layer, then every layer, before the last norm of a stable model; empty unless
    /// asked for.
    pub hidden_states: Vec<Tensor<3>>,
    /// [B, T, H]: what the head sees.
    pub last_hidden_state: Tensor<3>,
}

/// What can be seen on the way.
pub(crate) enum Stage {
    /// [B, T, C]: what leaves the convolutions.
    ConvFeatures,
    /// [B, T, H]: what the projection gives.
    Projected,
    /// [B, T, H]: what a layer's key projection gives, layer by layer.
    Keys,
}

impl SpeechModel {
    /// The forward pass. Nothing is read from the device, so it can run in a browser.
    pub fn forward(&self, batch: &SpeechBatch, options: &ForwardOptions) -> SpeechOutput {
        self.forward_watched(batch, options, &mut |_, _| {})
    }

    /// The forward pass; `watch` sees what passes by.
    pub(crate) fn forward_watched(
        &self,
        batch: &SpeechBatch,
        options: &ForwardOptions,
        watch: &mut dyn FnMut(Stage, &Tensor<3>),
    ) -> SpeechOutput {
        let (config, encoder) = (&self.config, &self.encoder);
        let context = Context {
            config,
            lengths: &batch.frames,
            training: options.dropout,
        };
        let eps = config.layer_norm_eps;
        let samples = batch.input_values.clone();
        let features = encoder
            .features
            .forward(samples, batch.windows.as_ref(), config);
        watch(Stage::ConvFeatures, &features);
        let projected = encoder.projection.forward(features, eps);
        watch(Stage::Projected, &projected);
        let mut hidden = context.drop(projected, config.feat_proj_dropout);
        if let (Some(masked), Some(stand_in)) = (&batch.masked, &encoder.masked_spec_embed) {
            let stand_in = stand_in.clone().unsqueeze::<3>();
            hidden = hidden.clone() * (1.0 - masked.clone()) + stand_in * masked.clone();
        }
        let hidden = unpadded(hidden, &batch.frames);
        let mut hidden = hidden.clone() + encoder.positional.forward(hidden);
        if !config.do_stable_layer_norm {
            hidden = encoder.layer_norm.forward(hidden, eps);
        }
        hidden = context.drop(hidden, config.hidden_dropout);
        let mut hidden_states = Vec::new();
        let mut keep = |x: &Tensor<3>| {
            if options.hidden_states {
                hidden_states.push(x.clone());
            }
        };
        keep(&hidden);
        for layer in &encoder.layers {
            hidden = layer.forward(hidden, &context, &mut |keys| watch(Stage::Keys, keys));
            keep(&hidden);
        }
        if config.do_stable_layer_norm {
            hidden = encoder.layer_norm.forward(hidden, eps);
        }
        let logits = self.head.as_ref().map(|head| match head {
            Head::Ctc(head) => head.forward(context.drop(hidden.clone(), config.final_dropout)),
            Head::Classifier {
                projector,
                classifier,
            } => {
                let projected = projector.forward(hidden.clone());
                classifier.forward(mean(projected, &batch.frames))
            }
        });
        SpeechOutput {
            logits,
            hidden_states,
            last_hidden_state: hidden,
        }
    }
}

/// [B, T, 1]: 1 at the frames of a clip; None where there is no padding.
fn mask(x: &Tensor<3>, lengths: &Lengths) -> Option<Tensor<3>> {
    let [b, t, _] = x.dims();
    let padded = lengths.as_slice().iter().any(|&n| (n as usize) < t);
    padded.then(|| {
        let mask = TensorData::new(lengths.mask(t), [b, t, 1]);
        Tensor::from_data(mask, &x.device().without_autodiff())
    })
}

/// The same with 0 at padded frames.
fn unpadded(x: Tensor<3>, lengths: &Lengths) -> Tensor<3> {
    match mask(&x, lengths) {
        Some(mask) => x * mask,
        None => x,
    }
}

/// [B, 1, D]: the mean over a clip's own frames.
fn mean(x: Tensor<3>, lengths: &Lengths) -> Tensor<3> {
    match mask(&x, lengths) {
        None => x.mean_dim(1),
        Some(mask) => {
            let count = mask.clone().sum_dim(1).clamp_min(1.0);
            (x * mask).sum_dim(1) / count
        }
    }
}
