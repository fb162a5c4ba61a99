//! Fine-tuning, conversion by layerwise distillation, evaluation.
//!
//! `setup` turns a configuration into models and data, `family` is what differs between kinds of models (`text`, `language`,
//! `speech`), `folder` keeps runs from writing over one another,
//! `guide` says what the student is held against at a step,
//! `step` computes losses and gradients of a batch, `run` is one run and `drive` its loop, `state` lets it go on after a stop.

mod drive;
mod evaluate;
mod family;
mod folder;
mod guide;
mod language;
mod output;
mod run;
mod setup;
mod speech;
mod speech_answers;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod text;

use std::sync::atomic::AtomicBool;

use anyhow::Result;

use crate::config::{RunConfig, Task};
use crate::metrics::{Observer, RunSummary};
use crate::model::{ModelKind, is_speech, kind_of};

pub use evaluate::{EvalOptions, Evaluation, Outcome, Prediction, evaluate_model, predict};
pub use folder::check_output;
pub use speech_answers::{SpeechAnswer, SpeechHead, SpeechReader};

/// Fine-tunes the transformer `config.model` on the task. `[cald]` is not read.
///
/// Writes the run folder `config.output`: `config.toml`, `metrics.jsonl`, `best/`, `last/`, `state/`, `checkpoints/`.
/// Stops after the current step when `stop` becomes true, with the state saved.
///
/// # Errors
/// A folder that it must not write into (see [`check_output`]), a bad configuration, bad data, a folder that cannot be read or written; messages name the file.
pub fn finetune(
    config: &RunConfig,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<RunSummary> {
    check_output(config, false)?;
    match config.task {
        Task::Ctc => drive::drive(setup::speech::finetune(config, observer)?, stop, observer),
        Task::Classify if is_speech(config.source()) => {
            drive::drive(setup::speech::finetune(config, observer)?, stop, observer)
        }
        Task::Classify => drive::drive(setup::text::finetune(config, observer)?, stop, observer),
        Task::Lm => drive::drive(setup::language::finetune(config, observer)?, stop, observer),
    }
}

/// Replaces the attention of a transformer and trains the student as `config.cald` says.
///
/// Writes the run folder as [`finetune`] does; the model in it is the student.
/// Stops after the current step when `stop` becomes true, with the state saved.
///
/// # Errors
/// As [`finetune`].
pub fn convert(
    config: &RunConfig,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<RunSummary> {
    check_output(config, true)?;
    match config.task {
        Task::Ctc => drive::drive(setup::speech::convert(config, observer)?, stop, observer),
        Task::Classify if is_speech(config.source()) => {
            drive::drive(setup::speech::convert(config, observer)?, stop, observer)
        }
        Task::Classify => drive::drive(setup::text::convert(config, observer)?, stop, observer),
        Task::Lm => drive::drive(setup::language::convert(config, observer)?, stop, observer),
    }
}

/// Evaluates a model on labelled examples, a language model on running text, a speech model on a manifest.
///
/// # Errors
/// A folder or file that cannot be read, or data that does not fit the model.
pub fn evaluate(options: &EvalOptions, observer: &mut dyn Observer) -> Result<Evaluation> {
    if options.data.valid.is_empty() {
        anyhow::bail!("no data to evaluate on; name a file");
    }
    match kind_of(&options.model)? {
        ModelKind::Text => evaluate::evaluate(options, observer),
        ModelKind::Language => language::evaluate(options, observer),
        ModelKind::Speech => speech_answers::evaluate(options, observer),
    }
}
