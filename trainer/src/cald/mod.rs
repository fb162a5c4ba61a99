//! Fine-tuning, conversion by layerwise distillation, evaluation.

mod evaluate;

use std::sync::atomic::AtomicBool;

use anyhow::Result;

use crate::config::RunConfig;
use crate::metrics::{Observer, RunSummary};

pub use evaluate::{EvalOptions, Evaluation, Prediction, evaluate, predict};

/// Fine-tunes the transformer `config.model` on the task. `[cald]` is not read.
///
/// Stops after the current step when `stop` becomes true, with the state saved.
///
/// # Errors
/// A bad configuration, bad data, a folder that cannot be read or written; messages name the file.
pub fn finetune(
    config: &RunConfig,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<RunSummary> {
    let _ = (config, stop, observer);
    anyhow::bail!("the training loop is not in this build")
}

/// Replaces the attention of a transformer and trains the student as `config.cald` says.
///
/// Stops after the current step when `stop` becomes true, with the state saved.
///
/// # Errors
/// As [`finetune`].
pub fn convert(
    config: &RunConfig,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<RunSummary> {
    let _ = (config, stop, observer);
    anyhow::bail!("the training loop is not in this build")
}
