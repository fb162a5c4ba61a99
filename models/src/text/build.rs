//! A text encoder's parameters, filled from a checkpoint or from random numbers.

use super::config::{Family, Sharing, TextConfig};
use super::layers::{Attention, Embeddings, Encoder, Head, Layer};
use crate::ModelError;
use crate::layers::{BINDING_BYTES, Init, LayerNorm, Linear, Parts, dotted};

/// Puts a model's parts together from a source.
pub(crate) struct Builder<'a> {
    pub config: &'a TextConfig,
    pub parts: Parts<'a>,
}

impl Builder<'_> {
    fn linear(&mut self, name: &str, out: usize, input: usize) -> Result<Linear, ModelError> {
        let init = Init::Normal(self.config.initializer_range);
        self.parts.linear(name, [out, input], init, true)
    }

    fn norm(&mut self, name: &str) -> Result<LayerNorm, ModelError> {
        self.parts.layer_norm(name, self.config.hidden_size)
    }

    fn embeddings(&mut self, name: &str) -> Result<Embeddings, ModelError> {
        let c = self.config;
        let padded = Init::NormalWithZeroRow(c.initializer_range, c.pad_token_id as usize);
        let plain = Init::Normal(c.initializer_range);
        let positions = if c.family == Family::Roberta {
            padded
        } else {
            plain
        };
        let name = |part: &str| dotted(name, part);
        Ok(Embeddings {
            words: self.parts.table(
                &name("word_embeddings.weight"),
                [c.vocab_size, c.hidden_size],
                padded,
                BINDING_BYTES,
            )?,
            positions: self.parts.tensor(
                &name("position_embeddings.weight"),
                [c.max_position_embeddings, c.hidden_size],
                positions,
            )?,
            types: self.parts.tensor(
                &name("token_type_embeddings.weight"),
                [c.type_vocab_size, c.hidden_size],
                plain,
            )?,
            norm: self.norm(&name("LayerNorm"))?,
        })
    }

    fn layer(&mut self, name: &str, index: usize) -> Result<Layer, ModelError> {
        let c = self.config;
        let (h, wide) = (c.hidden_size, c.intermediate_size);
        let name = |part: &str| dotted(name, part);
        let (mut proj_k, mut proj_v) = (None, None);
        if let Some(linformer) = c.linformer() {
            let shape = [c.max_position_embeddings, linformer.k];
            if linformer.sharing != Sharing::Layer || index == 0 {
                proj_k = Some(self.parts.tensor(
                    &name("attention.self.proj_k"),
                    shape,
                    Init::Normal(1.0),
                )?);
            }
            if linformer.sharing == Sharing::None {
                proj_v = Some(self.parts.tensor(
                    &name("attention.self.proj_v"),
                    shape,
                    Init::Normal(1.0),
                )?);
            }
        }
        Ok(Layer {
            attention: Attention {
                query: self.linear(&name("attention.self.query"), h, h)?,
                key: self.linear(&name("attention.self.key"), h, h)?,
                value: self.linear(&name("attention.self.value"), h, h)?,
                proj_k,
                proj_v,
                output: self.linear(&name("attention.output.dense"), h, h)?,
                norm: self.norm(&name("attention.output.LayerNorm"))?,
            },
            intermediate: self.linear(&name("intermediate.dense"), wide, h)?,
            output: self.linear(&name("output.dense"), h, wide)?,
            norm: self.norm(&name("output.LayerNorm"))?,
        })
    }

    /// The encoder under `prefix`, with or without a pooler.
    pub fn encoder(&mut self, prefix: &str, pooler: bool) -> Result<Encoder, ModelError> {
        let embeddings = self.embeddings(&dotted(prefix, "embeddings"))?;
        let layers = (0..self.config.num_hidden_layers)
            .map(|i| self.layer(&dotted(prefix, &format!("encoder.layer.{i}")), i))
            .collect::<Result<_, _>>()?;
        let pooler = if pooler {
            Some(self.pooler(prefix)?)
        } else {
            None
        };
        Ok(Encoder {
            embeddings,
            layers,
            pooler,
        })
    }

    /// BERT's pooler.
    pub fn pooler(&mut self, prefix: &str) -> Result<Linear, ModelError> {
        let h = self.config.hidden_size;
        self.linear(&dotted(prefix, "pooler.dense"), h, h)
    }

    /// The classifier.
    pub fn head(&mut self) -> Result<Head, ModelError> {
        let (h, labels) = (self.config.hidden_size, self.config.num_labels());
        Ok(match self.config.family {
            Family::Bert => Head::Bert(self.linear("classifier", labels, h)?),
            Family::Roberta => Head::Roberta {
                dense: self.linear("classifier.dense", h, h)?,
                out: self.linear("classifier.out_proj", labels, h)?,
            },
        })
    }
}
