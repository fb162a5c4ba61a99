//! `[optimizer]` and `[cald]`: how the student learns, and from whom.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{
    Decay, Guide, InitChoice, LayerLoss, MixerChoice, ScheduleKind, SharingChoice, StudentFrom,
};

/// `[optimizer]`: AdamW and its learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Highest learning rate. Default: 5e-5; 3e-4 for language models and speech.
    pub learning_rate: f64,
    /// Rate at the end, for the schedules that have one. Default: 0; a tenth of the highest for language models, a hundredth for
    /// speech.
    pub minimum_learning_rate: f64,
    /// Shape over the run. Default: `linear`; `cosine_to_minimum` for language models, `exponential` for speech.
    pub schedule: ScheduleKind,
    /// Steps of warm-up; takes the place of `warmup_ratio`. Default: none.
    pub warmup_steps: Option<u64>,
    /// Share of the run that is warm-up. Default: 0.1; 0.03 for language models.
    pub warmup_ratio: f64,
    /// Decay of the weights; biases and LayerNorm have none. Default: 0.01; 0.1 for language models.
    pub weight_decay: f64,
    /// `weights` or `mixer`: which of them. Default: `weights`; `mixer` where a language model is converted.
    pub decay: Decay,
    /// Decay of the mean of gradients. Default: 0.9.
    pub beta1: f64,
    /// Decay of the mean of squared gradients. Default: 0.999.
    pub beta2: f64,
    /// Added to the root in the denominator. Default: 1e-8.
    pub epsilon: f64,
    /// Largest norm of all gradients together; 0 does not clip. Default: 1.
    pub clip: f64,
    /// Factor on the learning rate of new parameters (the mixer's projections). Default: 1.
    pub projection_rate: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 5e-5,
            minimum_learning_rate: 0.0,
            schedule: ScheduleKind::Linear,
            warmup_steps: None,
            warmup_ratio: 0.1,
            weight_decay: 0.01,
            decay: Decay::Weights,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip: 1.0,
            projection_rate: 1.0,
        }
    }
}

/// `[cald]`: the student, its guide and the losses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaldConfig {
    /// Who guides. Default: `target`.
    pub guide: Guide,
    /// Hugging Face folder of the fine-tuned teacher (guide `target`). Default: none.
    pub teacher: Option<PathBuf>,
    /// Checkpoints for guide `waypoint`, in order; one folder with `step-N` folders in it is expanded. Default: none.
    pub waypoints: Vec<PathBuf>,
    /// Guide of the first part of a `hybrid` run. Default: `target`.
    pub hybrid_guide: Guide,
    /// Steps of that part; takes the place of `hybrid_fraction`. Default: none.
    pub hybrid_steps: Option<u64>,
    /// Share of the run that is guided. Default: 0.5.
    pub hybrid_fraction: f64,
    /// Whose parameters the student copies. Default: as in the paper, `teacher` for `target`, else `initial`.
    pub student_from: Option<StudentFrom>,
    /// What replaces attention. Default: `linformer`; `mamba` for language models, `bimamba2` for speech.
    pub mixer: MixerChoice,
    /// Positions that keys and values are projected to. Default: 256.
    pub k: usize,
    /// States of a channel of the Mamba mixer. Default: 16; 128 for speech.
    pub d_state: usize,
    /// Channels of a head of the Mamba-2 mixer (speech). Default: 64, or the largest below that divides the hidden size.
    pub head_dim: Option<usize>,
    /// Groups of heads of the Mamba-2 mixer that share B and C (speech). Default: 1.
    pub n_groups: usize,
    /// Width of its convolution. Default: 4.
    pub d_conv: usize,
    /// Its inner channels to one of the model's. Default: 2.
    pub expand: usize,
    /// Rank of its step sizes. Default: a sixteenth of the hidden size, rounded up.
    pub dt_rank: Option<usize>,
    /// `none`, `kv` or `layer`. Default: `none`.
    pub sharing: SharingChoice,
    /// `normal` or `segments`. Default: `normal`.
    pub init: InitChoice,
    /// Tokens of a typical sample, for `segments`. Default: the median of the training data.
    pub reference_length: Option<usize>,
    /// `mse_sum` or `normed_mean`. Default: `mse_sum`; `normed_mean` for language models and speech.
    pub layer_loss: LayerLoss,
    /// Leave the last layer out of `normed_mean` (its states go into the head, which the task loss trains).
    /// Default: false; true for language models.
    pub skip_last_layer: bool,
    /// Leave padding out of the layer loss. Default: true.
    pub mask_padding: bool,
    /// Weight of the task's cross entropy. Default: 1.
    pub task_weight: f64,
    /// Weight of the layer loss. Default: 1; 15 for language models and speech.
    pub alpha_layer: f64,
    /// Weight of the divergence from the teacher's logits. Default: 0; 1 for task `ctc`.
    pub alpha_logits: f64,
    /// Temperature of that divergence. Default: 2.
    pub temperature: f64,
    /// Learning rate of the teacher (guide `trajectory`). Default: the student's.
    pub teacher_learning_rate: Option<f64>,
    /// Student steps to one step of the teacher (guide `trajectory`). Default: 1.
    pub teacher_every: u64,
}

impl Default for CaldConfig {
    fn default() -> Self {
        Self {
            guide: Guide::Target,
            teacher: None,
            waypoints: Vec::new(),
            hybrid_guide: Guide::Target,
            hybrid_steps: None,
            hybrid_fraction: 0.5,
            student_from: None,
            mixer: MixerChoice::Linformer,
            k: 256,
            d_state: 16,
            head_dim: None,
            n_groups: 1,
            d_conv: 4,
            expand: 2,
            dt_rank: None,
            sharing: SharingChoice::None,
            init: InitChoice::Normal,
            reference_length: None,
            layer_loss: LayerLoss::MseSum,
            skip_last_layer: false,
            mask_padding: true,
            task_weight: 1.0,
            alpha_layer: 1.0,
            alpha_logits: 0.0,
            temperature: 2.0,
            teacher_learning_rate: None,
            teacher_every: 1,
        }
    }
}

impl CaldConfig {
    /// The guide that is at work at the start: of a hybrid run, the one of its first part.
    pub fn first_guide(&self) -> Guide {
        match self.guide {
            Guide::Hybrid => self.hybrid_guide,
            guide => guide,
        }
    }
}
