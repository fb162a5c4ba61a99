//! `config.json` of a text encoder.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::layers::Activation;

/// Which of the two encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// BERT: token types, positions from 0, pooler.
    Bert,
    /// RoBERTa: positions from `pad_token_id + 1`, its own head.
    Roberta,
}

impl Family {
    /// The value of `model_type`, and the prefix of the names of a model with a head.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Bert => "bert",
            Self::Roberta => "roberta",
        }
    }
}

/// What stands on the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Architecture {
    /// Nothing (`BertModel`, `RobertaModel`).
    Bare,
    /// A classifier over whole texts (`…ForSequenceClassification`).
    SequenceClassification,
}

/// How projections are shared in a Linformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Every layer has its own `proj_k` and `proj_v`.
    #[default]
    None,
    /// Every layer has one projection, `proj_k`, for keys and values.
    Kv,
    /// One projection for keys and values of all layers, stored as `proj_k` of layer 0.
    Layer,
}

/// Sizes of Linformer attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinformerConfig {
    /// Number of slots that keys and values are projected to.
    pub k: usize,
    /// Which projections are one and the same.
    #[serde(default)]
    pub sharing: Sharing,
}

/// What mixes the positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixer {
    /// Softmax attention, quadratic in the length.
    Softmax,
    /// Linformer attention, linear in the length.
    Linformer(LinformerConfig),
}

impl Mixer {
    /// Its name in `config.json` under `caldera.mixer`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::Linformer(_) => "linformer",
        }
    }
}

/// The configuration of a BERT or RoBERTa, read from and written to Hugging Face's `config.json`.
///
/// Keys that are not known here are kept in `other` and written back. Defaults of absent keys are those of
/// transformers' `BertConfig` and `RobertaConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct TextConfig {
    /// `model_type`.
    pub family: Family,
    /// `architectures`; what the weights hold decides when a model is loaded.
    pub architecture: Architecture,
    /// Rows of the word table.
    pub vocab_size: usize,
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of a layer; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width between the halves of a feed-forward block.
    pub intermediate_size: usize,
    /// `hidden_act`.
    pub hidden_act: Activation,
    /// Dropout of embeddings, attention outputs and feed-forward outputs.
    pub hidden_dropout_prob: f64,
    /// Dropout before the classifier; that of the hidden states where absent.
    pub classifier_dropout: Option<f64>,
    /// Rows of the position table.
    pub max_position_embeddings: usize,
    /// Rows of the token type table.
    pub type_vocab_size: usize,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
    /// The padding token, whose rows of the tables get no gradient.
    pub pad_token_id: u32,
    /// Classes, in order; "LABEL_0", ... where `config.json` names none. Empty only in a bare model without them.
    pub labels: Vec<String>,
    /// `caldera.mixer` and its sizes.
    pub mixer: Mixer,
    /// Other keys of `caldera`: the initialisation, the run that made the model.
    pub caldera: Map<String, Value>,
    /// Every other key, as it was.
    pub other: Map<String, Value>,
}

impl TextConfig {
    /// Classes of the head (the length of `labels`).
    pub fn num_labels(&self) -> usize {
        self.labels.len()
    }

    /// Width of one head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// The longest sample in tokens: RoBERTa's table begins with rows for the padding and those before it.
    pub fn max_length(&self) -> usize {
        match self.family {
            Family::Bert => self.max_position_embeddings,
            Family::Roberta => self
                .max_position_embeddings
                .saturating_sub(self.pad_token_id as usize + 1),
        }
    }

    /// The Linformer's sizes, if it is one.
    pub fn linformer(&self) -> Option<LinformerConfig> {
        match self.mixer {
            Mixer::Softmax => None,
            Mixer::Linformer(linformer) => Some(linformer),
        }
    }
}
