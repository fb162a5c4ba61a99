//! Loss, accuracy, agreement with a teacher; predictions.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::config::{DataConfig, DeviceChoice};
use crate::metrics::Observer;

/// What to evaluate on what.
#[derive(Clone, Debug, Default)]
pub struct EvalOptions {
    /// Hugging Face folder of the model.
    pub model: PathBuf,
    /// A second model whose answers are compared with those of the first.
    pub teacher: Option<PathBuf>,
    /// The examples: `valid`, `valid_limit`, `max_length` and the fields count, the rest is not read.
    pub data: DataConfig,
    /// Examples in a forward pass; 0 is 64.
    pub batch_size: usize,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// What came of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Examples looked at.
    pub examples: usize,
    /// Mean cross entropy.
    pub loss: f64,
    /// Share of right answers.
    pub accuracy: f64,
    /// Share of examples on which both models give the same answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agreement: Option<f64>,
    /// The teacher's own accuracy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub teacher_accuracy: Option<f64>,
    /// Wall-clock seconds of the model's forward passes.
    pub seconds: f64,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Number of the likeliest label.
    pub label: usize,
    /// Its name.
    pub name: String,
    /// Probability of every label.
    pub probabilities: Vec<f64>,
}

/// Evaluates a model on labelled examples.
///
/// # Errors
/// A folder or file that cannot be read, or data that does not fit the model.
pub fn evaluate(options: &EvalOptions, observer: &mut dyn Observer) -> Result<Evaluation> {
    let _ = (options, observer);
    anyhow::bail!("evaluation is not in this build")
}

/// Labels for texts (and pairs), in their order; `data.max_length` and the rest as in [`evaluate`].
///
/// # Errors
/// As [`evaluate`].
pub fn predict(
    options: &EvalOptions,
    texts: &[(String, Option<String>)],
) -> Result<Vec<Prediction>> {
    let _ = (options, texts);
    anyhow::bail!("prediction is not in this build")
}
