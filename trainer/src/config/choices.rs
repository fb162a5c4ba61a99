//! The words that a configuration may use.

use serde::{Deserialize, Serialize};

/// A choice as a configuration spells it.
pub(crate) fn spelled(choice: impl Serialize) -> String {
    let word = toml::Value::try_from(choice).ok();
    let word = word.as_ref().and_then(toml::Value::as_str);
    word.unwrap_or_default().to_string()
}

/// Where to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// A hardware GPU through wgpu; where there is none, the flex CPU backend.
    #[default]
    Auto,
    /// wgpu on whatever adapter there is, software ones included; an error when there is none.
    Gpu,
    /// The flex CPU backend.
    Cpu,
}

/// What a model is to learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Labels of texts and text pairs (BERT, RoBERTa) or of clips (Wav2Vec2), as the model is.
    #[default]
    Classify,
    /// The next token of running text (GPT-NeoX).
    Lm,
    /// The characters of what is said (Wav2Vec2).
    Ctc,
}

/// Which weights decay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// All but biases and norms.
    #[default]
    Weights,
    /// Those among them that the mixer brought.
    Mixer,
}

/// Who guides the student (DESIGN.md, section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Guide {
    /// Nobody: the task loss alone.
    Unguided,
    /// The transformer already fine-tuned on the task.
    #[default]
    Target,
    /// The transformer being fine-tuned beside the student.
    Trajectory,
    /// Saved checkpoints of that fine-tuning, spread evenly over the run.
    Waypoint,
    /// Another guide for the first steps, then the task loss alone.
    Hybrid,
}

/// Whose parameters the student starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StudentFrom {
    /// The fine-tuned teacher (`cald.teacher`).
    Teacher,
    /// The initial, pretrained model (`model`).
    Initial,
}

/// What takes the place of softmax attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MixerChoice {
    /// Linformer: keys and values projected to `k` positions.
    #[default]
    Linformer,
    /// Mamba: a selective scan over a state of `d_state` (language models).
    Mamba,
    /// Mamba-2 forwards and backwards, their outputs added (speech).
    BiMamba2,
}

/// Which projections Linformer layers have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SharingChoice {
    /// Every layer has one for keys and one for values.
    #[default]
    None,
    /// Every layer has one for both.
    Kv,
    /// One for everything.
    Layer,
}

/// How Linformer projections start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitChoice {
    /// N(0, 1), as in the paper.
    #[default]
    Normal,
    /// Segment pooling: a sample no longer than `k` starts from its own attention.
    Segments,
}

/// How the distance between hidden states is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerLoss {
    /// Sum over embeddings and every layer of the mean square difference (the paper, text).
    #[default]
    MseSum,
    /// Mean over the layers of the same between states after a LayerNorm without weights.
    NormedMean,
}

/// The shape of the learning rate over the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Warm-up, then the base rate.
    Constant,
    /// Warm-up, then a line to zero.
    #[default]
    Linear,
    /// Warm-up, then half a cosine to zero.
    Cosine,
    /// Warm-up, then half a cosine to the minimum.
    CosineToMinimum,
    /// Half a cosine to zero, lifted to the minimum wherever it is below.
    CosineClipped,
    /// `CosineToMinimum` one step ahead (transformers' `cosine_with_min_lr`).
    CosineEarly,
    /// Warm-up, then an exponential decay that reaches the minimum at the end.
    Exponential,
}

/// What decides which checkpoint is the best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BestMetric {
    /// Share of right answers on the validation data; higher is better.
    #[default]
    Accuracy,
    /// Cross entropy on the validation data; lower is better.
    Loss,
    /// Word error rate on the validation data; lower is better.
    Wer,
}
