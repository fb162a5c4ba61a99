//! Losses and gradients of one batch.

use burn::tensor::{Gradients, Tensor};

use super::family::{Asked, Family};
use super::guide::Guidance;
use crate::config::CaldConfig;
use crate::losses::{layer_loss, logits_loss};

/// Values of the parts of the loss, not read from the device, without their weights.
#[derive(Clone, Default)]
pub(super) struct Parts {
    pub task: Option<Tensor<1>>,
    pub layer: Option<Tensor<1>>,
    pub logits: Option<Tensor<1>>,
    pub teacher: Option<Tensor<1>>,
}

impl Parts {
    /// Adds another batch's parts, each counted with `share`.
    pub fn add(&mut self, other: Self, share: f64) {
        let add = |sum: &mut Option<Tensor<1>>, part: Option<Tensor<1>>| {
            if let Some(part) = part {
                let part = part * share;
                *sum = Some(match sum.take() {
                    Some(sum) => sum + part,
                    None => part,
                });
            }
        };
        add(&mut self.task, other.task);
        add(&mut self.layer, other.layer);
        add(&mut self.logits, other.logits);
        add(&mut self.teacher, other.teacher);
    }
}

/// What a student is to be trained with at a step.
pub(super) struct Objective<'a> {
    pub cald: &'a CaldConfig,
    /// The task's weight: 1 in fine-tuning.
    pub task_weight: f64,
    pub dropout: bool,
}

/// Forward and backward of the student. None for gradients: nothing in the batch to learn from.
pub(super) fn student_step<F: Family>(
    family: &F,
    student: &F::Model,
    batch: &F::Batch,
    guidance: Option<&Guidance>,
    objective: &Objective<'_>,
) -> (Parts, Option<Gradients>) {
    let cald = objective.cald;
    let states = guidance
        .map(|guidance| guidance.hidden_states.as_slice())
        .filter(|_| cald.alpha_layer > 0.0);
    let asked = Asked {
        hidden_states: states.is_some(),
        logits: objective.task_weight > 0.0 || cald.alpha_logits > 0.0,
        dropout: objective.dropout,
    };
    let output = family.forward(student, batch, &asked);
    let mut parts = Parts::default();
    let mut terms: Vec<Tensor<1>> = Vec::new();
    if objective.task_weight > 0.0
        && let Some(loss) = output
            .logits
            .clone()
            .and_then(|logits| family.task_loss(logits, batch))
    {
        parts.task = Some(loss.clone().without_autodiff());
        terms.push(loss * objective.task_weight);
    }
    if let Some(states) = states {
        let lengths = cald.mask_padding.then(|| family.state_lengths(batch));
        if let Some(loss) = layer_loss(
            &output.hidden_states,
            states,
            cald.layer_loss,
            cald.skip_last_layer,
            lengths,
        ) {
            parts.layer = Some(loss.value);
            terms.push(loss.graph * cald.alpha_layer);
        }
    }
    if cald.alpha_logits > 0.0
        && let (Some(student), Some(teacher)) = (
            output.logits,
            guidance.and_then(|guidance| guidance.logits.clone()),
        )
    {
        let mean = family.logits_mean(batch);
        let loss = logits_loss(student, teacher, cald.temperature, mean);
        parts.logits = Some(loss.clone().without_autodiff());
        terms.push(loss * cald.alpha_logits);
    }
    let total = terms.into_iter().reduce(|a, b| a + b);
    (parts, total.map(|total| total.backward()))
}
