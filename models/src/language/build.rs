//! A language model's parameters, filled from a checkpoint or from random numbers.

use super::Names;
use super::attention::Attention;
use super::config::{GptNeoXConfig, LanguageArchitecture, LanguageConfig, LanguageMixer};
use super::layers::{FinalNorm, GptNeoXLayer, Layer, MambaLayer, TokenMixer};
use crate::ModelError;
use crate::layers::{Init, Parts, Table, dotted};
use crate::mamba::{Mamba2Mixer, MambaMixer, StateSpaceMixer};

/// Puts a model's parts together from a source.
pub(crate) struct Builder<'a> {
    pub config: &'a LanguageConfig,
    pub parts: Parts<'a>,
    /// The largest block of a table.
    pub block_bytes: usize,
}

impl Builder<'_> {
    fn fresh(&self) -> Init {
        Init::Normal(self.config.initializer_range)
    }

    /// A table with a row for every token.
    pub fn table(&mut self, name: &str) -> Result<Table, ModelError> {
        let shape = [self.config.vocab_size, self.config.hidden_size];
        let init = self.fresh();
        self.parts.table(name, shape, init, self.block_bytes)
    }

    pub fn layer(&mut self, index: usize, names: &Names) -> Result<Layer, ModelError> {
        let config = self.config;
        let name = dotted(names.layers, &index.to_string());
        Ok(match &config.architecture {
            LanguageArchitecture::GptNeoX(neox) => {
                Layer::GptNeoX(self.gpt_neox(&name, neox, config.mixer)?)
            }
            LanguageArchitecture::Mamba => Layer::Mamba(MambaLayer {
                norm: self
                    .parts
                    .rms_norm(&dotted(&name, "norm"), config.hidden_size)?,
                mixer: self.state_space(&dotted(&name, "mixer"), config.mixer)?,
            }),
        })
    }

    fn gpt_neox(
        &mut self,
        name: &str,
        neox: &GptNeoXConfig,
        mixer: LanguageMixer,
    ) -> Result<GptNeoXLayer, ModelError> {
        let (h, wide) = (self.config.hidden_size, neox.intermediate_size);
        let init = self.fresh();
        let name = |part: &str| dotted(name, part);
        let mixer = match mixer {
            LanguageMixer::Attention => {
                let bias = neox.attention_bias;
                let parts = &mut self.parts;
                TokenMixer::Attention(Attention {
                    query_key_value: parts.linear(
                        &name("attention.query_key_value"),
                        [3 * h, h],
                        init,
                        bias,
                    )?,
                    dense: parts.linear(&name("attention.dense"), [h, h], init, bias)?,
                })
            }
            mixer => TokenMixer::StateSpace(self.state_space(&name("attention.mamba"), mixer)?),
        };
        let parts = &mut self.parts;
        Ok(GptNeoXLayer {
            input_layernorm: parts.layer_norm(&name("input_layernorm"), h)?,
            post_attention_layernorm: parts.layer_norm(&name("post_attention_layernorm"), h)?,
            mixer,
            dense_h_to_4h: parts.linear(&name("mlp.dense_h_to_4h"), [wide, h], init, true)?,
            dense_4h_to_h: parts.linear(&name("mlp.dense_4h_to_h"), [h, wide], init, true)?,
        })
    }

    /// A mixer with a state.
    pub fn state_space(
        &mut self,
        name: &str,
        mixer: LanguageMixer,
    ) -> Result<StateSpaceMixer, ModelError> {
        let (width, eps) = (self.config.hidden_size, self.config.norm_eps);
        let parts = &mut self.parts;
        match mixer {
            LanguageMixer::Mamba(mamba) => {
                let mixer = MambaMixer::build(parts, name, width, mamba)?;
                Ok(StateSpaceMixer::Mamba(mixer))
            }
            LanguageMixer::Mamba2(mamba) => {
                let mixer = Mamba2Mixer::build(parts, name, width, mamba, eps)?;
                Ok(StateSpaceMixer::Mamba2(mixer))
            }
            LanguageMixer::Attention => Err(ModelError::Config {
                file: "config.json".to_string(),
                key: "caldera.mixer".to_string(),
                expected: "a mixer with a state in a model of type mamba".to_string(),
                found: "softmax".to_string(),
                advice: "Take a GPT-NeoX for softmax attention".to_string(),
            }),
        }
    }

    /// The norm behind the last layer.
    pub fn final_norm(&mut self, name: &str) -> Result<FinalNorm, ModelError> {
        let width = self.config.hidden_size;
        Ok(match self.config.architecture {
            LanguageArchitecture::GptNeoX(_) => {
                FinalNorm::Layer(self.parts.layer_norm(name, width)?)
            }
            LanguageArchitecture::Mamba => FinalNorm::Rms(self.parts.rms_norm(name, width)?),
        })
    }
}
