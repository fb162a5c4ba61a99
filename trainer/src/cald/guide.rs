//! What the student is held against at a step.

use std::path::PathBuf;

use anyhow::Result;
use burn::tensor::{Gradients, Tensor};

use super::family::{Asked, Family};
use crate::config::RunConfig;
use crate::model::Model;
use crate::optimizer::{AdamW, GradientSum};
use crate::schedule::Schedule;

/// The teacher of a run.
pub(super) enum Teacher<M> {
    /// Nobody.
    None,
    /// One that does not change.
    Fixed(M),
    /// One that is fine-tuned beside the student.
    Training(Box<Trainee<M>>),
    /// Checkpoints, each for an equal part of the guided steps.
    Waypoints {
        /// Folders in order.
        folders: Vec<PathBuf>,
        /// The one that is loaded.
        current: Option<(usize, M)>,
    },
}

/// A teacher in training.
pub(super) struct Trainee<M> {
    pub model: M,
    pub optimizer: AdamW,
    pub schedule: Schedule,
    /// Student steps to one of its own.
    pub every: u64,
}

/// What a teacher says of a batch, outside of any graph, and what its own training needs.
pub(super) struct Guidance {
    /// Embeddings and every layer; empty where they are not needed.
    pub hidden_states: Vec<Tensor<3>>,
    /// \[B, L, V\]
    pub logits: Option<Tensor<3>>,
    /// Value of the teacher's own loss, where it learns from this batch.
    pub loss: Option<Tensor<1>>,
    /// And its gradients.
    pub gradients: Option<Gradients>,
}

impl<M: Model> Teacher<M> {
    /// A teacher that starts as `model`, trainable, and has its own AdamW and rate.
    pub fn training(model: M, config: &RunConfig) -> Self {
        let mut optimizer = config.optimizer.clone();
        optimizer.learning_rate = config
            .cald
            .teacher_learning_rate
            .unwrap_or(optimizer.learning_rate);
        optimizer.minimum_learning_rate =
            optimizer.minimum_learning_rate.min(optimizer.learning_rate);
        Self::Training(Box::new(Trainee {
            model,
            optimizer: AdamW::new(&optimizer),
            // The length of the run is not known yet: see `plan`.
            schedule: Schedule::new(&optimizer, 0),
            every: config.cald.teacher_every,
        }))
    }

    /// Checkpoints in order; they are loaded when their turn comes.
    pub fn waypoints(folders: Vec<PathBuf>) -> Self {
        Self::Waypoints {
            folders,
            current: None,
        }
    }

    /// Says how many steps the guidance lasts.
    pub fn plan(&mut self, guided_steps: u64, config: &RunConfig) {
        if let Self::Training(trainee) = self {
            let mut optimizer = config.optimizer.clone();
            optimizer.learning_rate = config
                .cald
                .teacher_learning_rate
                .unwrap_or(optimizer.learning_rate);
            optimizer.minimum_learning_rate =
                optimizer.minimum_learning_rate.min(optimizer.learning_rate);
            // A warm-up in steps is in the student's; the teacher takes as much of its own run.
            optimizer.warmup_steps = optimizer
                .warmup_steps
                .map(|steps| steps.div_ceil(trainee.every));
            trainee.schedule = Schedule::new(&optimizer, guided_steps.div_ceil(trainee.every));
        }
    }

    /// Gets ready for step `step` of `guided_steps`: loads the checkpoint whose turn it is.
    pub fn prepare<F: Family<Model = M>>(
        &mut self,
        family: &F,
        step: u64,
        guided_steps: u64,
        student: &M,
    ) -> Result<()> {
        let Self::Waypoints { folders, current } = self else {
            return Ok(());
        };
        let count = folders.len() as u64;
        let index = (step * count / guided_steps.max(1)).min(count - 1) as usize;
        if current.as_ref().is_none_or(|(loaded, _)| *loaded != index) {
            let device = student.device().without_autodiff();
            *current = Some((index, family.guiding(&folders[index], student, &device)?));
        }
        Ok(())
    }

    /// Whether the teacher itself takes a step after step `step` of the student.
    pub fn learns(&self, step: u64) -> bool {
        matches!(self, Self::Training(trainee) if step.is_multiple_of(trainee.every))
    }

    /// The teacher's rate at step `step` of the student.
    pub fn learning_rate(&self, step: u64) -> Option<f64> {
        match self {
            Self::Training(trainee) if self.learns(step) => {
                Some(trainee.schedule.rate(step / trainee.every))
            }
            _ => None,
        }
    }

    /// Its forward pass. A teacher that learns at this step makes one pass for both: with a graph, logits, and dropout where
    /// that is asked for; every other one keeps no graph and has no dropout.
    pub fn guide<F: Family<Model = M>>(
        &self,
        family: &F,
        batch: &F::Batch,
        asked: &Asked,
        step: u64,
    ) -> Option<Guidance> {
        let quiet = Asked {
            dropout: false,
            ..*asked
        };
        let frozen = |model: &M| {
            let output = family.forward(model, batch, &quiet);
            Guidance {
                hidden_states: output.hidden_states,
                logits: output.logits,
                loss: None,
                gradients: None,
            }
        };
        match self {
            Self::None => None,
            Self::Fixed(model) => Some(frozen(model)),
            Self::Waypoints { current, .. } => current.as_ref().map(|(_, model)| frozen(model)),
            Self::Training(trainee) if !self.learns(step) => {
                Some(frozen(&trainee.model.clone().frozen()))
            }
            Self::Training(trainee) => {
                let asked = Asked {
                    logits: true,
                    ..*asked
                };
                let output = family.forward(&trainee.model, batch, &asked);
                let loss = output
                    .logits
                    .clone()
                    .and_then(|logits| family.task_loss(logits, batch));
                let plain = |state: Tensor<3>| state.without_autodiff();
                Some(Guidance {
                    hidden_states: output.hidden_states.into_iter().map(plain).collect(),
                    logits: output.logits.map(Tensor::without_autodiff),
                    gradients: loss.as_ref().map(Tensor::backward),
                    loss: loss.map(Tensor::without_autodiff),
                })
            }
        }
    }

    /// Adds a batch's gradients of the teacher to `sum`.
    pub fn collect(&self, gradients: &mut Gradients, share: f64, sum: &mut GradientSum) {
        if let Self::Training(trainee) = self {
            sum.add_share(&trainee.model, gradients, share);
        }
    }

    /// The teacher's own step, where it makes one.
    pub fn step(&mut self, mut gradients: GradientSum, step: u64, clip: f64) {
        let Some(rate) = self.learning_rate(step) else {
            return;
        };
        if let Self::Training(trainee) = self {
            gradients.clip(clip);
            trainee.optimizer.step(&mut trainee.model, gradients, rate);
        }
    }
}
