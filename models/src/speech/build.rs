//! A speech model's parameters, filled from a checkpoint or from random numbers (as transformers draws them).

use super::config::{FeatureLayer, FeatureNorm, SpeechArchitecture, SpeechConfig, SpeechMixer};
use super::features::{Convolution, FeatureConvolution, FeatureEncoder, FeatureProjection};
use super::layers::{Encoder, Head, Layer};
use super::mixer::{Attention, BiMamba2, FrameMixer};
use super::positional::PositionalConvolution;
use crate::ModelError;
use crate::layers::{Init, Linear, Packed, Parts, dotted};
use crate::mamba::Mamba2Mixer;

/// Epsilon of the gated norm in a Mamba-2, as its source has it.
const MAMBA2_NORM_EPS: f64 = 1e-5;

/// Puts a model's parts together from a source.
pub(crate) struct Builder<'a> {
    pub config: &'a SpeechConfig,
    pub parts: Parts<'a>,
}

impl Builder<'_> {
    fn linear(&mut self, name: &str, out: usize, input: usize) -> Result<Linear, ModelError> {
        let init = Init::Normal(self.config.initializer_range);
        self.parts.linear(name, [out, input], init, true)
    }

    fn convolution(
        &mut self,
        name: &str,
        channels: usize,
        layer: FeatureLayer,
    ) -> Result<Convolution, ModelError> {
        let sum = (channels * layer.kernel) as f64;
        let shape = [layer.dim, channels, layer.kernel];
        let init = Init::Normal((2.0 / sum).sqrt());
        let weight = self.parts.tensor(&dotted(name, "weight"), shape, init)?;
        let bias = self.config.conv_bias.then(|| {
            let init = Init::Uniform(sum.powf(-0.5));
            self.parts.tensor(&dotted(name, "bias"), [layer.dim], init)
        });
        Ok(Convolution {
            weight,
            bias: bias.transpose()?,
            packed: Packed::default(),
        })
    }

    fn features(&mut self, name: &str) -> Result<FeatureEncoder, ModelError> {
        let mut channels = 1;
        let mut layers = Vec::new();
        for (i, layer) in self.config.conv_layers.clone().into_iter().enumerate() {
            let name = dotted(name, &format!("conv_layers.{i}"));
            let conv = self.convolution(&dotted(&name, "conv"), channels, layer)?;
            let normed = i == 0 || self.config.feat_extract_norm == FeatureNorm::Layer;
            let norm = normed.then(|| {
                self.parts
                    .layer_norm(&dotted(&name, "layer_norm"), layer.dim)
            });
            layers.push(FeatureConvolution {
                conv,
                norm: norm.transpose()?,
            });
            channels = layer.dim;
        }
        Ok(FeatureEncoder { layers })
    }

    fn projection(&mut self, name: &str) -> Result<FeatureProjection, ModelError> {
        let channels = self.config.conv_layers.last().map_or(1, |layer| layer.dim);
        let init = Init::Uniform((channels as f64).powf(-0.5));
        let shape = [self.config.hidden_size, channels];
        Ok(FeatureProjection {
            norm: self
                .parts
                .layer_norm(&dotted(name, "layer_norm"), channels)?,
            projection: self
                .parts
                .linear(&dotted(name, "projection"), shape, init, true)?,
        })
    }

    fn positional(&mut self, name: &str) -> Result<PositionalConvolution, ModelError> {
        let hidden = self.config.hidden_size;
        let (kernel, groups) = (
            self.config.num_conv_pos_embeddings,
            self.config.num_conv_pos_embedding_groups,
        );
        let deviation = 2.0 * ((kernel * hidden) as f64).powf(-0.5);
        let shape = [hidden, hidden / groups, kernel];
        // Training starts with the weights as drawn: the gain is the norm that they have, up to chance.
        let norm = deviation * ((hidden * (hidden / groups)) as f64).sqrt();
        let weight = |part: &str| dotted(name, &format!("conv.parametrizations.weight.{part}"));
        let parts = &mut self.parts;
        Ok(PositionalConvolution {
            bias: parts.tensor(&dotted(name, "conv.bias"), [hidden], Init::Zeros)?,
            gain: parts.tensor(&weight("original0"), [1, 1, kernel], Init::Constant(norm))?,
            direction: parts.tensor(&weight("original1"), shape, Init::Normal(deviation))?,
            packed: Packed::default(),
        })
    }

    /// What mixes the frames of the layer `name`.
    pub fn mixer(&mut self, name: &str, mixer: SpeechMixer) -> Result<FrameMixer, ModelError> {
        let h = self.config.hidden_size;
        let name = |part: &str| dotted(&dotted(name, "attention"), part);
        Ok(match mixer {
            SpeechMixer::Attention => FrameMixer::Attention(Attention {
                k_proj: self.linear(&name("k_proj"), h, h)?,
                v_proj: self.linear(&name("v_proj"), h, h)?,
                q_proj: self.linear(&name("q_proj"), h, h)?,
                out_proj: self.linear(&name("out_proj"), h, h)?,
            }),
            SpeechMixer::BiMamba2(mamba) => {
                let mut direction = |part: &str| {
                    let parts = &mut self.parts;
                    Mamba2Mixer::build(parts, &name(part), h, mamba, MAMBA2_NORM_EPS)
                };
                FrameMixer::BiMamba2(BiMamba2 {
                    fw_mamba: direction("fw_mamba")?,
                    bw_mamba: direction("bw_mamba")?,
                })
            }
        })
    }

    fn layer(&mut self, name: &str) -> Result<Layer, ModelError> {
        let (h, wide) = (self.config.hidden_size, self.config.intermediate_size);
        let inner = |part: &str| dotted(name, part);
        Ok(Layer {
            mixer: self.mixer(name, self.config.mixer)?,
            layer_norm: self.parts.layer_norm(&inner("layer_norm"), h)?,
            intermediate_dense: self.linear(&inner("feed_forward.intermediate_dense"), wide, h)?,
            output_dense: self.linear(&inner("feed_forward.output_dense"), h, wide)?,
            final_layer_norm: self.parts.layer_norm(&inner("final_layer_norm"), h)?,
        })
    }

    /// Everything below the head, with or without the vector that stands for hidden frames.
    pub fn encoder(&mut self, prefix: &str, masked: bool) -> Result<Encoder, ModelError> {
        let h = self.config.hidden_size;
        let name = |part: &str| dotted(prefix, part);
        let features = self.features(&name("feature_extractor"))?;
        let projection = self.projection(&name("feature_projection"))?;
        let masked_spec_embed = masked.then(|| {
            let init = Init::Uniform(0.5);
            self.parts.tensor(&name("masked_spec_embed"), [h], init)
        });
        let layers = (0..self.config.num_hidden_layers)
            .map(|i| self.layer(&name(&format!("encoder.layers.{i}"))))
            .collect::<Result<_, _>>()?;
        Ok(Encoder {
            features,
            projection,
            masked_spec_embed: masked_spec_embed.transpose()?,
            positional: self.positional(&name("encoder.pos_conv_embed"))?,
            layer_norm: self.parts.layer_norm(&name("encoder.layer_norm"), h)?,
            layers,
        })
    }

    /// The head that the architecture has.
    pub fn head(&mut self) -> Result<Option<Head>, ModelError> {
        let (h, narrow) = (self.config.hidden_size, self.config.classifier_proj_size);
        Ok(match self.config.architecture {
            SpeechArchitecture::Bare => None,
            SpeechArchitecture::Ctc => Some(Head::Ctc(self.linear(
                "lm_head",
                self.config.vocab_size,
                h,
            )?)),
            SpeechArchitecture::SequenceClassification => Some(Head::Classifier {
                projector: self.linear("projector", narrow, h)?,
                classifier: self.linear("classifier", self.config.num_labels(), narrow)?,
            }),
        })
    }
}
