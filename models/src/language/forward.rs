//! From token ids to hidden states and logits, for whole sequences.

use burn::tensor::Tensor;
use caldera_shaders::Lengths;

use super::layers::Context;
use super::rotary::Rotary;
use super::{LanguageBatch, LanguageMixer, LanguageModel};
use crate::ForwardOptions;
use crate::layers::{Activation, dropout};

/// The hidden states of a forward pass. B batch, L length, H hidden size. Padded positions hold values of no meaning.
#[derive(Debug, Clone)]
pub struct LanguageStates {
    /// [B, L, H] each: embeddings, then every layer, before the final norm; empty unless asked for.
    pub hidden_states: Vec<Tensor<3>>,
    /// [B, L, H]: the norm of the last layer's output.
    pub final_norm: Tensor<3>,
}

/// What a forward pass gives. B batch, L length, H hidden size, V vocabulary. Padded positions hold values of no
/// meaning.
#[derive(Debug, Clone)]
pub struct LanguageOutput {
    /// [B, L, V]: of the token that follows each position.
    pub logits: Tensor<3>,
    /// [B, L, H] each: embeddings, then every layer, before the final norm; empty unless asked for.
    pub hidden_states: Vec<Tensor<3>>,
    /// [B, L, H]: the norm of the last layer's output.
    pub final_norm: Tensor<3>,
}

impl LanguageModel {
    /// The forward pass. Nothing is read from the device, so it can run in a browser.
    ///
    /// Ids must be those that [`LanguageModel::validate`] accepts.
    pub fn forward(&self, batch: &LanguageBatch, options: &ForwardOptions) -> LanguageOutput {
        let LanguageStates {
            hidden_states,
            final_norm,
        } = self.states(batch, options);
        LanguageOutput {
            logits: self.logits(final_norm.clone()),
            hidden_states,
            final_norm,
        }
    }

    /// The forward pass without its head, for those that need no logits (a teacher of hidden states).
    pub fn states(&self, batch: &LanguageBatch, options: &ForwardOptions) -> LanguageStates {
        let config = &self.config;
        let probability = match (options.dropout, config.gpt_neox()) {
            (true, Some(neox)) => neox.hidden_dropout,
            _ => 0.0,
        };
        let context = self.context(&batch.lengths, 0, batch.length(), probability);
        let mut hidden = dropout(
            self.embeddings.look_up(batch.input_ids.clone()),
            probability,
        );
        let mut hidden_states = Vec::new();
        let mut keep = |x: &Tensor<3>| {
            if options.hidden_states {
                hidden_states.push(x.clone());
            }
        };
        keep(&hidden);
        for layer in &self.layers {
            hidden = layer.forward(hidden, &context, false).0;
            keep(&hidden);
        }
        LanguageStates {
            hidden_states,
            final_norm: self.final_norm.forward(hidden, config.norm_eps),
        }
    }

    /// Logits [.., V] of final norms [.., H].
    pub fn logits<const D: usize>(&self, final_norm: Tensor<D>) -> Tensor<D> {
        let head = self.head.as_ref().unwrap_or(&self.embeddings);
        head.project(final_norm)
    }

    /// What layers need to run positions `first .. first + length`.
    pub(super) fn context<'a>(
        &self,
        lengths: &'a Lengths,
        first: usize,
        length: usize,
        dropout: f64,
    ) -> Context<'a> {
        let config = &self.config;
        let neox = config.gpt_neox();
        let rotary = match neox {
            // A Mamba mixer in place of attention takes no positions.
            Some(neox) if config.mixer == LanguageMixer::Attention => {
                let head_size = config.hidden_size / neox.num_attention_heads;
                Rotary::new(neox, head_size, first, length, &self.device())
            }
            _ => Rotary::none(),
        };
        Context {
            lengths,
            rotary,
            heads: neox.map_or(1, |neox| neox.num_attention_heads),
            norm_eps: config.norm_eps,
            parallel: neox.is_some_and(|neox| neox.use_parallel_residual),
            activation: neox.map_or(Activation::Gelu, |neox| neox.hidden_act),
            dropout,
            max_length: neox.map_or(0, |neox| neox.max_position_embeddings),
        }
    }
}
