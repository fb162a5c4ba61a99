//! A language model's parameters, filled from a checkpoint or from random numbers.

use super::Names;
use super::attention::Attention;
use super::config::{
    GptNeoXConfig, LanguageArchitecture, LanguageConfig, LanguageMixer, MambaConfig,
};
use super::layers::{FinalNorm, GptNeoXLayer, Layer, MambaLayer, TokenMixer};
use super::mamba::{Convolution, MambaMixer};
use crate::ModelError;
use crate::layers::{Init, Parts, Table, dotted};

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
        match (&config.architecture, config.mixer) {
            (LanguageArchitecture::GptNeoX(neox), mixer) => {
                Ok(Layer::GptNeoX(self.gpt_neox(&name, neox, mixer)?))
            }
            (LanguageArchitecture::Mamba, LanguageMixer::Mamba(mamba)) => {
                Ok(Layer::Mamba(MambaLayer {
                    norm: self
                        .parts
                        .rms_norm(&dotted(&name, "norm"), config.hidden_size)?,
                    mixer: self.mamba(&dotted(&name, "mixer"), mamba)?,
                }))
            }
            (LanguageArchitecture::Mamba, LanguageMixer::Attention) => Err(ModelError::Config {
                file: "config.json".to_string(),
                key: "caldera.mixer".to_string(),
                expected: "mamba in a model of type mamba".to_string(),
                found: "softmax".to_string(),
                advice: "Take a GPT-NeoX for softmax attention".to_string(),
            }),
        }
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
            LanguageMixer::Mamba(mamba) => {
                TokenMixer::Mamba(self.mamba(&name("attention.mamba"), mamba)?)
            }
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

    /// A Mamba mixer. Fresh, as the source has it: A_log = ln(1..N), D = 1, the bias of the step sizes so that these
    /// are log-uniform in [0.001, 0.1], their weight uniform within dt_rank^-½; projections and convolution as PyTorch
    /// starts them, uniform within (values in the sum)^-½.
    pub fn mamba(&mut self, name: &str, mamba: MambaConfig) -> Result<MambaMixer, ModelError> {
        let h = self.config.hidden_size;
        let MambaConfig {
            d_state: n,
            dt_rank: rank,
            ..
        } = mamba;
        let d = mamba.expand * h;
        let within = |fan_in: usize| Init::Uniform((fan_in as f64).powf(-0.5));
        let name = |part: &str| dotted(name, part);
        let parts = &mut self.parts;
        let taps = [d, 1, mamba.d_conv];
        let conv1d = Convolution {
            weight: parts.tensor(&name("conv1d.weight"), taps, within(mamba.d_conv))?,
            bias: match mamba.conv_bias {
                true => Some(parts.tensor(&name("conv1d.bias"), [d], within(mamba.d_conv))?),
                false => None,
            },
        };
        let mut dt_proj = parts.linear(&name("dt_proj"), [d, rank], within(rank), false)?;
        let steps = Init::InverseSoftplus(0.001, 0.1);
        dt_proj.bias = Some(parts.tensor(&name("dt_proj.bias"), [d], steps)?);
        Ok(MambaMixer {
            in_proj: parts.linear(&name("in_proj"), [2 * d, h], within(h), mamba.proj_bias)?,
            conv1d,
            x_proj: parts.linear(&name("x_proj"), [rank + 2 * n, d], within(d), false)?,
            dt_proj,
            a_log: parts.tensor(&name("A_log"), [d, n], Init::LogOfCount)?,
            d: parts.tensor(&name("D"), [d], Init::Ones)?,
            out_proj: parts.linear(&name("out_proj"), [h, d], within(d), mamba.proj_bias)?,
        })
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
