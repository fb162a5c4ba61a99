//! What a run tells while it goes: records, the [`Observer`] that hears them, and the JSON Lines file.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::report::write_whole;

/// Said once, before the first step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStart {
    /// `finetune`, or `convert (GUIDE)`.
    pub task: String,
    /// One line about the device.
    pub device: String,
    /// Optimizer steps of the whole run.
    pub total_steps: u64,
    /// Optimizer steps of an epoch.
    pub steps_per_epoch: u64,
    /// Steps already done by the run that this one goes on from; 0 for a new one.
    pub resumed_from: u64,
    /// Labelled training examples.
    pub train_examples: usize,
    /// Texts without labels.
    pub unlabelled_examples: usize,
    /// Validation examples.
    pub valid_examples: usize,
    /// Parameters of the model in training.
    pub parameters: usize,
}

/// One optimizer step. Losses are read back only every `train.log_every` steps and are of that step's batches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Steps done, this one included.
    pub step: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Passes over the data, as a fraction.
    pub epoch: f64,
    /// Rate that this step used.
    pub learning_rate: f64,
    /// Rate of the teacher's step, where it made one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub teacher_learning_rate: Option<f64>,
    /// Sum of the weighted parts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub loss: Option<f64>,
    /// Cross entropy, without its weight.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub task_loss: Option<f64>,
    /// Layer loss, without its weight.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub layer_loss: Option<f64>,
    /// Divergence of the logits times T², without its weight.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub logits_loss: Option<f64>,
    /// Cross entropy of the teacher in training.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub teacher_loss: Option<f64>,
    /// Norm of all gradients before clipping.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub gradient_norm: Option<f64>,
    /// Examples in the step.
    pub examples: usize,
    /// Positions computed in the step, padding included.
    pub positions: usize,
    /// Wall-clock seconds of the step.
    pub seconds: f64,
    /// Wall-clock seconds since the run started or was resumed.
    pub elapsed: f64,
}

/// How well a model does; what does not apply to its task is None.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Mean loss of the task: cross entropy of an example, or in nats of a token.
    pub loss: f64,
    /// Share of right answers; of a language model, of next tokens guessed right; in speech recognition, of utterances
    /// without an error.
    pub accuracy: f64,
    /// e to the loss of a token (language models).
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
}

impl Score {
    /// The figure that matters most for the task, for people.
    pub fn headline(&self) -> String {
        match self.wer {
            Some(wer) => format!("word error rate {wer:.4}"),
            None => format!("accuracy {:.4}", self.accuracy),
        }
    }
}

/// One evaluation on the validation data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Optimizer steps done.
    pub step: u64,
    /// Passes over the data, as a fraction.
    pub epoch: f64,
    /// Examples looked at.
    pub examples: usize,
    /// How well it did.
    #[serde(flatten)]
    pub score: Score,
    /// Accuracy of the teacher in training (guide `trajectory`).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub teacher_accuracy: Option<f64>,
    /// Its word error rate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub teacher_wer: Option<f64>,
    /// Better than every one before.
    pub best: bool,
    /// Wall-clock seconds that it took.
    pub seconds: f64,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SavedKind {
    /// `best/`
    Best,
    /// `last/`
    Last,
    /// `state/`
    State,
    /// `checkpoints/step-N/`
    Checkpoint,
}

/// Something was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedRecord {
    /// Optimizer steps done.
    pub step: u64,
    /// What it is.
    pub kind: SavedKind,
    /// Where it is.
    pub path: PathBuf,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// All steps are done.
    Finished,
    /// `train.patience` evaluations without a better one.
    EarlyStopping,
    /// The stop flag was set; the state is saved.
    Interrupted,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The run folder.
    pub output: PathBuf,
    /// Why it ended.
    pub stopped: StopReason,
    /// Optimizer steps done, those before a resume included.
    pub steps: u64,
    /// The evaluation that `best/` is of.
    pub best: Option<EvalRecord>,
    /// The last evaluation.
    pub last: Option<EvalRecord>,
    /// Wall-clock seconds, those before a resume included.
    pub seconds: f64,
    /// Parameters of the model.
    pub parameters: usize,
}

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum MetricsLine {
    /// The run starts or goes on.
    Start(RunStart),
    /// A step whose losses were read.
    Step(StepRecord),
    /// An evaluation.
    Eval(EvalRecord),
    /// Something was written.
    Saved(SavedRecord),
    /// The run ended.
    End(RunSummary),
}

impl MetricsLine {
    fn step(&self) -> u64 {
        match self {
            Self::Start(start) => start.resumed_from,
            Self::Step(step) => step.step,
            Self::Eval(eval) => eval.step,
            Self::Saved(saved) => saved.step,
            Self::End(summary) => summary.steps,
        }
    }
}

/// Hears what a run does. Every method may be left out.
pub trait Observer {
    /// Before the first step.
    fn started(&mut self, _start: &RunStart) {}
    /// After every optimizer step.
    fn step(&mut self, _record: &StepRecord) {}
    /// During an evaluation: examples done, of how many.
    fn evaluating(&mut self, _done: usize, _total: usize) {}
    /// After an evaluation.
    fn evaluated(&mut self, _record: &EvalRecord) {}
    /// After something was written.
    fn saved(&mut self, _record: &SavedRecord) {}
    /// A line for the reader.
    fn message(&mut self, _line: &str) {}
    /// At the end.
    fn finished(&mut self, _summary: &RunSummary) {}
}

/// Nobody listens.
pub struct Silent;
impl Observer for Silent {}

/// Writes `metrics.jsonl`. A failed write is kept and given back by [`JsonLines::close`], so that training goes on.
pub struct JsonLines {
    file: File,
    path: PathBuf,
    error: Option<std::io::Error>,
}

impl JsonLines {
    /// Starts the file; of one that is there, keeps the lines up to `resumed_from` steps (none for 0).
    pub fn open(path: &Path, resumed_from: u64) -> Result<Self> {
        let kept: Vec<MetricsLine> = if resumed_from > 0 && path.exists() {
            let mut lines = read_metrics(path)?;
            lines
                .retain(|line| line.step() <= resumed_from && !matches!(line, MetricsLine::End(_)));
            lines
        } else {
            Vec::new()
        };
        let mut text = String::new();
        for line in &kept {
            text += &as_text(line)?;
        }
        // As a whole: a stop in here would cost what earlier runs have measured.
        write_whole(path, text.as_bytes())?;
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .with_context(|| format!("{}: cannot be written", path.display()))?;
        Ok(Self {
            file,
            path: path.into(),
            error: None,
        })
    }

    /// Adds a line.
    pub fn write(&mut self, line: &MetricsLine) {
        if self.error.is_some() {
            return;
        }
        let written = as_text(line)
            .map_err(std::io::Error::from)
            .and_then(|text| self.file.write_all(text.as_bytes()));
        self.error = written.err();
    }

    /// The first error, if there was one.
    pub fn close(self) -> Result<()> {
        match self.error {
            Some(error) => {
                Err(error).with_context(|| format!("{}: cannot be written", self.path.display()))
            }
            None => Ok(()),
        }
    }
}

fn as_text(line: &MetricsLine) -> serde_json::Result<String> {
    Ok(format!("{}\n", serde_json::to_string(line)?))
}

/// Reads `metrics.jsonl`; a last line that was cut off is left out.
pub fn read_metrics(path: &Path) -> Result<Vec<MetricsLine>> {
    let file = File::open(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let mut lines = Vec::new();
    let mut pending: Option<(usize, serde_json::Error)> = None;
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.with_context(|| format!("{}: cannot be read", path.display()))?;
        if let Some((number, error)) = pending.take() {
            return Err(error).with_context(|| format!("{}, line {number}", path.display()));
        }
        match serde_json::from_str(&line) {
            Ok(parsed) => lines.push(parsed),
            Err(error) => pending = Some((index + 1, error)),
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resume_keeps_earlier_lines_and_a_torn_tail_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut out = JsonLines::open(&path, 0).unwrap();
        for step in 1..=5 {
            out.write(&MetricsLine::Step(StepRecord {
                step,
                loss: Some(0.5),
                ..Default::default()
            }));
        }
        out.close().unwrap();
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.truncate(text.len() - 7);
        std::fs::write(&path, text).unwrap();
        // Somebody who still reads the file keeps the one that was there.
        let before = File::open(&path).unwrap();
        let mut out = JsonLines::open(&path, 3).unwrap();
        let steps: Vec<u64> = read_metrics(&path)
            .unwrap()
            .iter()
            .map(MetricsLine::step)
            .collect();
        assert_eq!(steps, [1, 2, 3]);
        assert_eq!(BufReader::new(before).lines().count(), 5);
        out.write(&MetricsLine::Step(StepRecord {
            step: 4,
            ..Default::default()
        }));
        out.close().unwrap();
        assert_eq!(read_metrics(&path).unwrap().len(), 4);
    }
}
