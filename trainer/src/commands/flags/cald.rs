//! Flags of a conversion.

use super::{choice, over, over_list, over_some};
use crate::config::{
    Guide, InitChoice, LayerLoss, MixerChoice, RunConfig, SharingChoice, StudentFrom,
};
use clap::Args;
use std::path::{Path, PathBuf};

/// Flags of the student and its guide.
#[derive(Args, Debug, Default, Clone)]
pub struct CaldFlags {
    /// unguided, target, trajectory, waypoint or hybrid [default: target]
    #[arg(long, value_name = "NAME", value_parser = choice::<Guide>)]
    pub guide: Option<Guide>,
    /// Folder of the fine-tuned transformer (guides target and hybrid)
    #[arg(long, value_name = "DIR")]
    pub teacher: Option<PathBuf>,
    /// Folder of the pretrained transformer (guides trajectory and waypoint, and the student's start where no teacher is)
    #[arg(long, visible_alias = "model", value_name = "DIR")]
    pub initial: Option<PathBuf>,
    /// Checkpoint folders of the teacher's fine-tuning, in order, or the one folder that holds step-N folders (guide waypoint)
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub waypoints: Vec<PathBuf>,
    /// Guide of the first part of a hybrid run [default: target]
    #[arg(long, value_name = "NAME", value_parser = choice::<Guide>)]
    pub hybrid_guide: Option<Guide>,
    /// Steps of that part [default: half of the run]
    #[arg(long, value_name = "N")]
    pub hybrid_steps: Option<u64>,
    /// teacher or initial: whose parameters the student copies [default: teacher for target, else initial]
    #[arg(long, value_name = "NAME", value_parser = choice::<StudentFrom>)]
    pub student_from: Option<StudentFrom>,
    /// What takes the place of attention: linformer (texts), mamba (lm) or bimamba2 (speech) [default: that of the model]
    #[arg(long, value_name = "NAME", value_parser = choice::<MixerChoice>)]
    pub mixer: Option<MixerChoice>,
    /// Positions that keys and values are projected to [default: 256]
    #[arg(long, value_name = "N")]
    pub k: Option<usize>,
    /// States of a channel of the Mamba mixer [default: 16; 128 for speech]
    #[arg(long, value_name = "N")]
    pub d_state: Option<usize>,
    /// Channels of a head of the bimamba2 mixer [default: 64]
    #[arg(long, value_name = "N")]
    pub head_dim: Option<usize>,
    /// Groups of its heads that share B and C [default: 1]
    #[arg(long, value_name = "N")]
    pub n_groups: Option<usize>,
    /// none, kv or layer: which projections are shared [default: none]
    #[arg(long, value_name = "NAME", value_parser = choice::<SharingChoice>)]
    pub sharing: Option<SharingChoice>,
    /// normal or segments: how the projections start [default: normal]
    #[arg(long, value_name = "NAME", value_parser = choice::<InitChoice>)]
    pub init: Option<InitChoice>,
    /// Typical sample in tokens, for --init segments [default: as in the training data]
    #[arg(long, value_name = "N")]
    pub reference_length: Option<usize>,
    /// mse-sum or normed-mean [default: mse-sum; normed-mean for lm and speech]
    #[arg(long, value_name = "NAME", value_parser = choice::<LayerLoss>)]
    pub layer_loss: Option<LayerLoss>,
    /// Weight of the layer loss [default: 1; 15 for lm and speech]
    #[arg(long, value_name = "WEIGHT")]
    pub alpha_layer: Option<f64>,
    /// Weight of the divergence from the teacher's logits [default: 0; 1 for ctc]
    #[arg(long, value_name = "WEIGHT")]
    pub alpha_logits: Option<f64>,
    /// Weight of the task's cross entropy [default: 1]
    #[arg(long, value_name = "WEIGHT")]
    pub task_weight: Option<f64>,
    /// Temperature of the divergence [default: 2]
    #[arg(long, value_name = "T")]
    pub temperature: Option<f64>,
    /// More texts for the distillation losses; labels in them are not read
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub unlabelled: Vec<PathBuf>,
    /// Use only the first N of those texts
    #[arg(long, value_name = "N")]
    pub unlabelled_limit: Option<usize>,
    /// Factor on the learning rate of the projections [default: 1]
    #[arg(long, value_name = "FACTOR")]
    pub projection_rate: Option<f64>,
    /// Learning rate of the teacher in training (guide trajectory) [default: the student's]
    #[arg(long, value_name = "RATE")]
    pub teacher_lr: Option<f64>,
    /// Student steps to one step of the teacher (guide trajectory) [default: 1]
    #[arg(long, value_name = "N")]
    pub teacher_every: Option<u64>,
}

impl CaldFlags {
    /// The model folder that a conversion begins with, where one is given.
    pub fn source(&self) -> Option<&Path> {
        let named = self
            .teacher
            .iter()
            .chain(&self.initial)
            .chain(&self.waypoints);
        named.map(PathBuf::as_path).next()
    }

    /// Lays these flags over a configuration.
    pub fn apply(&self, config: &mut RunConfig) {
        let flags = self.clone();
        over_some(&mut config.model, flags.initial);
        over_list(&mut config.data.unlabelled, flags.unlabelled);
        over_some(&mut config.data.unlabelled_limit, flags.unlabelled_limit);
        over(&mut config.optimizer.projection_rate, flags.projection_rate);
        let cald = &mut config.cald;
        over(&mut cald.guide, flags.guide);
        over_some(&mut cald.teacher, flags.teacher);
        over_list(&mut cald.waypoints, flags.waypoints);
        over(&mut cald.hybrid_guide, flags.hybrid_guide);
        over_some(&mut cald.hybrid_steps, flags.hybrid_steps);
        over_some(&mut cald.student_from, flags.student_from);
        over(&mut cald.mixer, flags.mixer);
        over(&mut cald.k, flags.k);
        over(&mut cald.d_state, flags.d_state);
        over_some(&mut cald.head_dim, flags.head_dim);
        over(&mut cald.n_groups, flags.n_groups);
        over(&mut cald.sharing, flags.sharing);
        over(&mut cald.init, flags.init);
        over_some(&mut cald.reference_length, flags.reference_length);
        over(&mut cald.layer_loss, flags.layer_loss);
        over(&mut cald.alpha_layer, flags.alpha_layer);
        over(&mut cald.alpha_logits, flags.alpha_logits);
        over(&mut cald.task_weight, flags.task_weight);
        over(&mut cald.temperature, flags.temperature);
        over_some(&mut cald.teacher_learning_rate, flags.teacher_lr);
        over(&mut cald.teacher_every, flags.teacher_every);
    }
}
