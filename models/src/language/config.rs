//! `config.json` of a language model.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::layers::Activation;
use crate::{Mamba2Config, MambaConfig};

/// What a layer is made of.
#[derive(Debug, Clone, PartialEq)]
pub enum LanguageArchitecture {
    /// `GPTNeoXForCausalLM`: a mixer and a feed-forward block, each behind a layer norm.
    GptNeoX(GptNeoXConfig),
    /// `MambaForCausalLM` or `Mamba2ForCausalLM`: a mixer of that kind behind an RMS norm.
    Mamba,
}

/// What only a GPT-NeoX has (Black et al. 2022, arXiv 2204.06745; the Pythia models, arXiv 2304.01373).
#[derive(Debug, Clone, PartialEq)]
pub struct GptNeoXConfig {
    /// Heads of a layer; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width between the halves of a feed-forward block.
    pub intermediate_size: usize,
    /// `hidden_act`.
    pub hidden_act: Activation,
    /// The part of a head that is rotated: `rotary_pct`, or `rope_parameters.partial_rotary_factor`.
    pub rotary_pct: f64,
    /// The base of the rotation's wavelengths: `rotary_emb_base`, or `rope_parameters.rope_theta`.
    pub rotary_emb_base: f64,
    /// The longest sequence that the transformer was made for, in tokens.
    pub max_position_embeddings: usize,
    /// x + mixer(norm₁ x) + mlp(norm₂ x) where true; y = x + mixer(norm₁ x), y + mlp(norm₂ y) where false.
    pub use_parallel_residual: bool,
    /// Whether the projections of attention have biases.
    pub attention_bias: bool,
    /// Dropout of embeddings, mixer outputs and feed-forward outputs.
    pub hidden_dropout: f64,
}

/// What mixes the positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LanguageMixer {
    /// Causal softmax attention with rotary positions: work grows with the square of the length, the memory of
    /// decoding with the length.
    Attention,
    /// A selective state space: work grows with the length, the memory of decoding does not grow.
    Mamba(MambaConfig),
    /// The same with one decay a head; only in a [`LanguageArchitecture::Mamba`].
    Mamba2(Mamba2Config),
}

impl LanguageMixer {
    /// Its name in `config.json` under `caldera.mixer`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Attention => "softmax",
            Self::Mamba(_) => "mamba",
            Self::Mamba2(_) => "mamba2",
        }
    }
}

/// The configuration of a language model, read from and written to Hugging Face's `config.json`.
///
/// Keys that are not known here are kept in `other` and written back. Defaults of absent keys are those of
/// transformers' `GPTNeoXConfig` and `MambaConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct LanguageConfig {
    /// `model_type`, and the settings that it alone has.
    pub architecture: LanguageArchitecture,
    /// `caldera.mixer` and its sizes; of a `MambaForCausalLM` its own keys.
    pub mixer: LanguageMixer,
    /// Rows of the token table.
    pub vocab_size: usize,
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Epsilon of the norms.
    pub norm_eps: f64,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Whether the token table is the head too.
    pub tie_word_embeddings: bool,
    /// Tokens that end a text; more than one where `config.json` has a list.
    pub eos_token_ids: Vec<u32>,
    /// The padding token.
    pub pad_token_id: Option<u32>,
    /// Other keys of `caldera`: the initialisation, the run that made the model.
    pub caldera: Map<String, Value>,
    /// Every other key, as it was.
    pub other: Map<String, Value>,
}

impl LanguageConfig {
    /// The longest sequence in tokens: `max_position_embeddings` of a transformer. None for a Mamba mixer, which has
    /// no positions.
    pub fn max_length(&self) -> Option<usize> {
        match (&self.architecture, self.mixer) {
            (LanguageArchitecture::GptNeoX(neox), LanguageMixer::Attention) => {
                Some(neox.max_position_embeddings)
            }
            _ => None,
        }
    }

    /// The token to pad with: the padding token, else one that ends a text, else 0. What stands in the padding
    /// changes no result.
    pub fn padding(&self) -> u32 {
        let end = self.eos_token_ids.first().copied();
        self.pad_token_id.or(end).unwrap_or(0)
    }

    /// The settings of a GPT-NeoX, if it is one.
    pub fn gpt_neox(&self) -> Option<&GptNeoXConfig> {
        match &self.architecture {
            LanguageArchitecture::GptNeoX(neox) => Some(neox),
            LanguageArchitecture::Mamba => None,
        }
    }

    /// The sizes of the Mamba mixer, if it has one.
    pub fn mamba(&self) -> Option<MambaConfig> {
        match self.mixer {
            LanguageMixer::Mamba(mamba) => Some(mamba),
            LanguageMixer::Attention | LanguageMixer::Mamba2(_) => None,
        }
    }
}
