//! Loss, accuracy, agreement with a teacher; predictions.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::{Device, Tensor};
use caldera_models::{ForwardOptions, TextModel};
use serde::{Deserialize, Serialize};

use crate::batches::{Batch, Encoded, Encoder};
use crate::config::{DataConfig, DeviceChoice};
use crate::data::{Example, Fields, LabelSet, read_files, with_labels};
use crate::device::select_device;
use crate::metrics::Observer;

/// What to evaluate on what.
#[derive(Clone, Debug, Default)]
pub struct EvalOptions {
    /// Hugging Face folder of the model.
    pub model: PathBuf,
    /// A second model whose answers are compared with those of the first.
    pub teacher: Option<PathBuf>,
    /// The examples: `valid`, `valid_limit`, `max_length`, `labels` and the fields count, the rest is not read.
    pub data: DataConfig,
    /// Examples in a forward pass; 0: 64 texts, 16 clips, or as many blocks of text (64 at most) as keep a language model's
    /// logits below 256 MB.
    pub batch_size: usize,
    /// Where to compute.
    pub device: DeviceChoice,
}

/// Texts in a forward pass, where nobody says, and blocks at most.
pub(super) const BATCH: usize = 64;

/// What came of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Examples looked at.
    pub examples: usize,
    /// Mean cross entropy; of a language model in nats of a token.
    pub loss: f64,
    /// Share of right answers; of a language model, of next tokens guessed right.
    pub accuracy: f64,
    /// e to the loss (language models).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub perplexity: Option<f64>,
    /// Loss in bits over the bytes of the text (language models).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bits_per_byte: Option<f64>,
    /// Wrong words to a word of the reference (speech recognition).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wer: Option<f64>,
    /// Wrong characters to a character of the reference (speech recognition).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cer: Option<f64>,
    /// Share of examples on which both models give the same answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub agreement: Option<f64>,
    /// The teacher's own accuracy.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub teacher_accuracy: Option<f64>,
    /// The teacher's own loss.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub teacher_loss: Option<f64>,
    /// The teacher's own word error rate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub teacher_wer: Option<f64>,
    /// The teacher's own character error rate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub teacher_cer: Option<f64>,
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

/// Answers of a model to examples, in their order.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Log probability of every label.
    pub log_probabilities: Vec<Vec<f64>>,
    /// Wall-clock seconds.
    pub seconds: f64,
}

impl Outcome {
    /// The likeliest label of every example.
    pub fn answers(&self) -> impl Iterator<Item = usize> {
        self.log_probabilities.iter().map(|row| {
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            best.map_or(0, |(label, _)| label)
        })
    }

    /// Mean cross entropy and share of right answers over the examples that have a label.
    pub fn score(&self, examples: &[Encoded]) -> (f64, f64) {
        let (mut loss, mut right, mut count) = (0.0, 0usize, 0usize);
        for ((row, answer), example) in self
            .log_probabilities
            .iter()
            .zip(self.answers())
            .zip(examples)
        {
            if let Some(label) = example.label {
                loss -= row.get(label).copied().unwrap_or(f64::NEG_INFINITY);
                right += usize::from(answer == label);
                count += 1;
            }
        }
        (
            loss / count.max(1) as f64,
            right as f64 / count.max(1) as f64,
        )
    }
}

// So many batches are on their way before logits are read: a GPU does not wait after each.
const BATCHES_A_READ: usize = 16;

/// Answers of `model` (frozen, with a head) to `examples`, batched by length, without dropout.
///
/// # Errors
/// The model has no head, or the device cannot be read.
pub fn evaluate_model(
    model: &TextModel,
    examples: &[Encoded],
    pad_token_id: u32,
    batch_size: usize,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let started = Instant::now();
    let device = model.device().without_autodiff();
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|index| examples[*index].ids.len());
    let mut log_probabilities = vec![Vec::new(); examples.len()];
    let batches: Vec<&[usize]> = order.chunks(batch_size.max(1)).collect();
    let mut done = 0;
    // On the CPU a read costs nothing, and progress shows.
    let group = if caldera_shaders::is_gpu(&device) {
        BATCHES_A_READ
    } else {
        1
    };
    for group in batches.chunks(group) {
        let mut logits = Vec::with_capacity(group.len());
        for indices in group {
            let rows: Vec<&Encoded> = indices.iter().map(|index| &examples[*index]).collect();
            let batch = Batch::new(&rows, pad_token_id, 1, &device);
            let output = model.forward(&batch.input, &ForwardOptions::default());
            logits.push(
                output
                    .logits
                    .context("the model has no classification head; fine-tune it first")?,
            );
        }
        let logits = Tensor::cat(logits, 0);
        let [_, classes] = logits.dims();
        let data = logits
            .try_into_data()
            .map_err(|error| anyhow::anyhow!("the device failed: {error:?}"))?;
        let values: Vec<f64> = data.iter::<f64>().collect();
        let indices = group.iter().flat_map(|indices| indices.iter());
        for (index, row) in indices.zip(values.chunks(classes)) {
            log_probabilities[*index] = log_softmax(row);
            done += 1;
        }
        observer.evaluating(done, examples.len());
    }
    Ok(Outcome {
        log_probabilities,
        seconds: started.elapsed().as_secs_f64(),
    })
}

pub(super) fn log_softmax(row: &[f64]) -> Vec<f64> {
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|value| (value - most).exp()).sum();
    row.iter().map(|value| value - most - sum.ln()).collect()
}

fn texts_in_a_pass(options: &EvalOptions) -> usize {
    match options.batch_size {
        0 => BATCH,
        size => size,
    }
}

/// Evaluates a classifier on labelled examples.
pub(super) fn evaluate(options: &EvalOptions, observer: &mut dyn Observer) -> Result<Evaluation> {
    let (device, line) = select_device(options.device)?;
    observer.message(&line);
    let fields = Fields::from_config(&options.data);
    let records = read_files(&options.data.valid, &fields, options.data.valid_limit)?;
    let mut results = Vec::new();
    for folder in std::iter::once(&options.model).chain(&options.teacher) {
        let (model, encoder, labels) = classifier(folder, &options.data, &device)?;
        let examples = encoder.encode(&with_labels(records.clone(), &labels, true)?)?;
        let size = texts_in_a_pass(options);
        let outcome = evaluate_model(&model, &examples, encoder.pad_token_id(), size, observer)?;
        let score = outcome.score(&examples);
        results.push((outcome, score));
    }
    let (outcome, (loss, accuracy)) = &results[0];
    let teacher = results.get(1);
    let agreement = teacher.map(|(other, _)| {
        let same = outcome
            .answers()
            .zip(other.answers())
            .filter(|(a, b)| a == b)
            .count();
        same as f64 / records.len() as f64
    });
    Ok(Evaluation {
        examples: records.len(),
        loss: *loss,
        accuracy: *accuracy,
        agreement,
        teacher_accuracy: teacher.map(|(_, (_, accuracy))| *accuracy),
        teacher_loss: teacher.map(|(_, (loss, _))| *loss),
        seconds: outcome.seconds,
        ..Evaluation::default()
    })
}

/// Labels for texts (and pairs), in their order; `data.max_length` and the rest as in [`evaluate`](super::evaluate).
///
/// # Errors
/// As [`evaluate`](super::evaluate).
pub fn predict(
    options: &EvalOptions,
    texts: &[(String, Option<String>)],
) -> Result<Vec<Prediction>> {
    let (device, _) = select_device(options.device)?;
    let (model, encoder, labels) = classifier(&options.model, &options.data, &device)?;
    let examples: Vec<Example> = texts
        .iter()
        .map(|(text, pair)| Example {
            text: text.clone(),
            pair: pair.clone(),
            label: None,
        })
        .collect();
    let encoded = encoder.encode(&examples)?;
    let size = texts_in_a_pass(options);
    let outcome = evaluate_model(
        &model,
        &encoded,
        encoder.pad_token_id(),
        size,
        &mut crate::metrics::Silent,
    )?;
    let answers: Vec<usize> = outcome.answers().collect();
    let predictions = outcome
        .log_probabilities
        .into_iter()
        .zip(answers)
        .map(|(row, label)| Prediction {
            label,
            name: labels.names()[label].clone(),
            probabilities: row.into_iter().map(f64::exp).collect(),
        });
    Ok(predictions.collect())
}

fn classifier(
    folder: &Path,
    data: &DataConfig,
    device: &Device,
) -> Result<(TextModel, Encoder, LabelSet)> {
    let model = TextModel::load(folder, device)?.frozen();
    let encoder = Encoder::load(folder, &model.config, data.max_length)?;
    let labels = super::setup::text::labels_of(&model, data, folder)?.with_context(|| {
        format!(
            "{}: no classification head in this folder; fine-tune the model first",
            folder.display()
        )
    })?;
    Ok((model, encoder, labels))
}
