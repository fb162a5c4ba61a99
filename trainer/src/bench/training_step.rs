//! One training step and one forward pass of a classifier, for comparison with other programs.

use super::latency::{milliseconds, random_batch};
use super::statistics::quantile;
use crate::config::OptimizerConfig;
use crate::losses::cross_entropy;
use crate::optimizer::{AdamW, GradientSum};
use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::Device;
use caldera_models::{Architecture, ForwardOptions, TextBatch, TextModel};
use serde::Serialize;
use std::time::Instant;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Sequences in a batch.
    pub batch: usize,
    /// Tokens in a sequence.
    pub length: usize,
    /// Timed steps, after one that warms up.
    pub steps: usize,
    /// Dropout as the model's config says.
    pub dropout: bool,
    /// Seed of token ids and of a new head.
    pub seed: u64,
}

/// Milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Median of a training step: forward, cross entropy, backward, clipping to norm 1, AdamW on every parameter.
    pub train_step_ms: f64,
    /// A tenth of the steps was faster.
    pub train_step_p10_ms: f64,
    /// Nine tenths of the steps were faster.
    pub train_step_p90_ms: f64,
    /// The step that warmed up.
    pub train_step_first_ms: f64,
    /// Median of a forward pass without gradients.
    pub forward_ms: f64,
    /// A tenth of the passes was faster.
    pub forward_p10_ms: f64,
    /// Nine tenths of the passes were faster.
    pub forward_p90_ms: f64,
    /// The pass that warmed up.
    pub forward_first_ms: f64,
    /// Cross entropy of the last step, so that a step that computes nothing shows.
    pub last_loss: f64,
    /// Timed steps, and timed passes.
    pub steps: usize,
    /// Sequences in a batch.
    pub batch: usize,
    /// Tokens in a sequence.
    pub length: usize,
    /// Threads of the CPU backend.
    pub threads: usize,
}

/// Times training steps and forward passes on random tokens.
///
/// # Errors
/// When the length does not fit the model, or the device fails.
pub fn measure(model: TextModel, plan: &Plan, device: &Device) -> Result<Figures> {
    if plan.steps == 0 || plan.batch == 0 || plan.length == 0 {
        bail!("nothing to measure: expected at least one step, one sequence and one token");
    }
    let model = if model.config.architecture == Architecture::SequenceClassification {
        model
    } else {
        model.with_head(2, None, plan.seed)
    };
    let batch = random_batch(&[&model], plan.batch, plan.length, plan.seed, device)?;
    let classes = model.config.num_labels().max(1);
    let labels: Vec<Option<usize>> = (0..plan.batch).map(|row| Some(row % classes)).collect();

    let frozen = model.clone().frozen();
    let mut forward = Vec::with_capacity(plan.steps + 1);
    for _ in 0..=plan.steps {
        forward.push(milliseconds(&frozen, &batch)?);
    }
    drop(frozen);

    let mut model = model.trainable();
    let mut optimizer = AdamW::new(&OptimizerConfig::default());
    let mut train = Vec::with_capacity(plan.steps + 1);
    let mut last_loss = f64::NAN;
    for _ in 0..=plan.steps {
        let start = Instant::now();
        last_loss = training_step(&mut model, &mut optimizer, &batch, &labels, plan.dropout)?;
        device
            .sync()
            .map_err(|e| anyhow!("the device failed: {e:?}; try a smaller batch"))?;
        train.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let at = |times: &[f64], q| quantile(&times[1..], q);
    Ok(Figures {
        train_step_ms: at(&train, 0.5),
        train_step_p10_ms: at(&train, 0.1),
        train_step_p90_ms: at(&train, 0.9),
        train_step_first_ms: train[0],
        forward_ms: at(&forward, 0.5),
        forward_p10_ms: at(&forward, 0.1),
        forward_p90_ms: at(&forward, 0.9),
        forward_first_ms: forward[0],
        last_loss,
        steps: plan.steps,
        batch: plan.batch,
        length: plan.length,
        threads: std::env::var("RAYON_NUM_THREADS")
            .ok()
            .and_then(|n| n.parse().ok())
            .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
            .unwrap_or(1),
    })
}

fn training_step(
    model: &mut TextModel,
    optimizer: &mut AdamW,
    batch: &TextBatch,
    labels: &[Option<usize>],
    dropout: bool,
) -> Result<f64> {
    let output = model.forward(
        batch,
        &ForwardOptions {
            hidden_states: false,
            dropout,
        },
    );
    let loss = cross_entropy(
        output.logits.context("a classifier without logits")?,
        labels,
    )
    .context("no labels")?;
    let mut gradients = loss.backward();
    let mut sum = GradientSum::default();
    sum.add(model, &mut gradients);
    sum.clip(1.0);
    optimizer.step(model, sum, 2e-5);
    let loss: f32 = loss.into_scalar();
    Ok(f64::from(loss))
}
