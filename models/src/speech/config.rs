//! `config.json` of a speech model.

use caldera_shaders::conv1d_frames;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Mamba2Config;
use crate::layers::Activation;

/// What stands on the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeechArchitecture {
    /// Nothing (`Wav2Vec2Model`).
    Bare,
    /// Characters frame by frame (`Wav2Vec2ForCTC`).
    Ctc,
    /// A classifier over whole clips (`Wav2Vec2ForSequenceClassification`).
    SequenceClassification,
}

impl SpeechArchitecture {
    /// The class of transformers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "Wav2Vec2Model",
            Self::Ctc => "Wav2Vec2ForCTC",
            Self::SequenceClassification => "Wav2Vec2ForSequenceClassification",
        }
    }
}

/// Where the feature encoder has norms (`feat_extract_norm`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureNorm {
    /// A group norm with one group a channel behind the first convolution, over all of time.
    Group,
    /// A layer norm over the channels behind every convolution.
    Layer,
}

/// How the losses of a batch become one (`ctc_loss_reduction`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CtcReduction {
    /// Their sum.
    Sum,
    /// Each divided by the length of its target, then their mean.
    Mean,
}

/// What mixes the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeechMixer {
    /// Softmax attention, quadratic in the length.
    Attention,
    /// A Mamba-2 forwards and one backwards, their outputs added; linear in the length.
    BiMamba2(Mamba2Config),
}

impl SpeechMixer {
    /// Its name in `config.json` under `caldera.mixer`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Attention => "softmax",
            Self::BiMamba2(_) => "bimamba2",
        }
    }
}

/// A convolution of the feature encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeatureLayer {
    /// `conv_dim`: channels that it gives.
    pub dim: usize,
    /// `conv_kernel`: positions of a window.
    pub kernel: usize,
    /// `conv_stride`: positions between windows.
    pub stride: usize,
}

/// The configuration of a Wav2Vec2, read from and written to Hugging Face's `config.json`.
///
/// Keys that are not known here are kept in `other` and written back. Defaults of absent keys are those of
/// transformers' `Wav2Vec2Config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct SpeechConfig {
    /// `architectures`.
    pub architecture: SpeechArchitecture,
    /// Classes of the CTC head, the blank included.
    pub vocab_size: usize,
    /// Width of a hidden state.
    pub hidden_size: usize,
    /// Layers of the encoder.
    pub num_hidden_layers: usize,
    /// Heads of a layer; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width between the halves of a feed-forward block.
    pub intermediate_size: usize,
    /// `hidden_act`.
    pub hidden_act: Activation,
    /// Dropout of attention outputs, feed-forward outputs and of what enters the first layer.
    pub hidden_dropout: f64,
    /// Dropout within the feed-forward blocks.
    pub activation_dropout: f64,
    /// Dropout of the projected features.
    pub feat_proj_dropout: f64,
    /// Dropout before the CTC head.
    pub final_dropout: f64,
    /// Epsilon of the encoder's layer norms.
    pub layer_norm_eps: f64,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// Where the feature encoder has norms.
    pub feat_extract_norm: FeatureNorm,
    /// Activation of the feature encoder.
    pub feat_extract_activation: Activation,
    /// Whether its convolutions have biases.
    pub conv_bias: bool,
    /// Its convolutions.
    pub conv_layers: Vec<FeatureLayer>,
    /// Width of the positional convolution.
    pub num_conv_pos_embeddings: usize,
    /// Its groups; divides `hidden_size`.
    pub num_conv_pos_embedding_groups: usize,
    /// Norms before each part of a layer and one at the end, in place of one behind each part.
    pub do_stable_layer_norm: bool,
    /// Whether frames are masked in training.
    pub apply_spec_augment: bool,
    /// Share of frames that begin a masked span, times its length.
    pub mask_time_prob: f64,
    /// Frames of a masked span.
    pub mask_time_length: usize,
    /// Masked spans of a clip, at least.
    pub mask_time_min_masks: usize,
    /// How the losses of a batch become one.
    pub ctc_loss_reduction: CtcReduction,
    /// Whether a target that does not fit into its frames costs nothing.
    pub ctc_zero_infinity: bool,
    /// Width of the vector that is classified.
    pub classifier_proj_size: usize,
    /// CTC's blank.
    pub pad_token_id: u32,
    /// Classes of clips, in order. Empty in a CTC model without them.
    pub labels: Vec<String>,
    /// `caldera.mixer` and its sizes.
    pub mixer: SpeechMixer,
    /// Other keys of `caldera`: the run that made the model.
    pub caldera: Map<String, Value>,
    /// Every other key, as it was.
    pub other: Map<String, Value>,
}

impl SpeechConfig {
    /// Frames that the feature encoder makes of so many samples; 0 where they are too few for one.
    pub fn frames(&self, samples: usize) -> usize {
        self.conv_layers.iter().fold(samples, |len, layer| {
            conv1d_frames(len, layer.kernel, layer.stride)
        })
    }

    /// Samples of `frames` neighbouring frames (at least one).
    pub fn samples(&self, frames: usize) -> usize {
        let layers = self.conv_layers.iter().rev();
        layers.fold(frames.max(1), |len, layer| {
            (len - 1) * layer.stride + layer.kernel
        })
    }

    /// The shortest clip that has a frame, in samples.
    pub fn least_samples(&self) -> usize {
        self.samples(1)
    }

    /// Samples between the beginnings of neighbouring frames.
    pub fn hop(&self) -> usize {
        self.conv_layers.iter().map(|layer| layer.stride).product()
    }

    /// Classes of clips (the length of `labels`).
    pub fn num_labels(&self) -> usize {
        self.labels.len()
    }

    /// Width of one head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// The sizes of the mixers with states, if it has them.
    pub fn bimamba2(&self) -> Option<Mamba2Config> {
        match self.mixer {
            SpeechMixer::Attention => None,
            SpeechMixer::BiMamba2(mamba) => Some(mamba),
        }
    }
}
