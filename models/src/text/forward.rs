//! From token ids to hidden states and logits.

use burn::tensor::Tensor;

use super::config::Family;
use super::layers::{Head, LayerContext, Positions};
use super::{TextBatch, TextModel};
use crate::layers::dropout;

/// What a forward pass gives beside its result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ForwardOptions {
    /// Keep the embeddings and every layer's output.
    pub hidden_states: bool,
    /// Training: dropout with the configuration's probabilities; `Device::seed` fixes the masks.
    pub dropout: bool,
}

/// What a forward pass gives. B batch, L length, H hidden size, C classes.
#[derive(Debug, Clone)]
pub struct TextOutput {
    /// [B, C]; None in a bare encoder.
    pub logits: Option<Tensor<2>>,
    /// [B, L, H] each: embeddings (after their norm), then every layer; empty unless asked for. Padded
    /// positions hold values of no meaning.
    pub hidden_states: Vec<Tensor<3>>,
    /// [B, L, H]: the last layer's output.
    pub last_hidden_state: Tensor<3>,
    /// [B, H]: tanh of a dense layer on the first token; None where the model has no pooler.
    pub pooler_output: Option<Tensor<2>>,
}

impl TextModel {
    /// The forward pass. Nothing is read from the device, so it can run in a browser.
    ///
    /// Ids must be those that [`TextModel::validate`] accepts.
    pub fn forward(&self, batch: &TextBatch, options: &ForwardOptions) -> TextOutput {
        self.forward_watched(batch, options, &mut |_| {})
    }

    /// The forward pass; `keys` sees, layer by layer, what the key projection gives before it is split into
    /// heads [B, L, H].
    pub(crate) fn forward_watched(
        &self,
        batch: &TextBatch,
        options: &ForwardOptions,
        keys: &mut dyn FnMut(&Tensor<3>),
    ) -> TextOutput {
        let config = &self.config;
        let hidden_dropout = if options.dropout {
            config.hidden_dropout_prob
        } else {
            0.0
        };
        let positions = match config.family {
            Family::Bert => Positions::FromZero,
            Family::Roberta => Positions::AfterPadding,
        };
        let embeddings = self.encoder.embeddings.forward(
            batch.input_ids.clone(),
            batch.token_type_ids.clone(),
            &positions,
            config.pad_token_id,
            config.layer_norm_eps,
        );
        let mut hidden = dropout(embeddings, hidden_dropout);
        let mut hidden_states = Vec::new();
        let mut keep = |x: &Tensor<3>| {
            if options.hidden_states {
                hidden_states.push(x.clone());
            }
        };
        keep(&hidden);
        let context = LayerContext {
            config,
            lengths: &batch.lengths,
            dropout: hidden_dropout,
            shared: self
                .encoder
                .layers
                .first()
                .and_then(|layer| layer.attention.proj_k.clone()),
        };
        for layer in &self.encoder.layers {
            hidden = layer.forward(hidden, &context, keys);
            keep(&hidden);
        }
        let [b, _, h] = hidden.dims();
        let first = || hidden.clone().slice([0..b, 0..1, 0..h]).reshape([b, h]);
        let pooler_output = self
            .encoder
            .pooler
            .as_ref()
            .map(|pooler| pooler.forward(first()).tanh());
        let head_dropout = match options.dropout {
            true => config
                .classifier_dropout
                .unwrap_or(config.hidden_dropout_prob),
            false => 0.0,
        };
        let logits = match &self.head {
            None => None,
            Some(Head::Bert(classifier)) => {
                let pooled = pooler_output.clone().unwrap_or_else(first);
                Some(classifier.forward(dropout(pooled, head_dropout)))
            }
            Some(Head::Roberta { dense, out }) => {
                let inner = dense.forward(dropout(first(), head_dropout)).tanh();
                Some(out.forward(dropout(inner, head_dropout)))
            }
        };
        TextOutput {
            logits,
            hidden_states,
            last_hidden_state: hidden,
            pooler_output,
        }
    }
}
