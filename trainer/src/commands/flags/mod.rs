//! Flags that training commands share, laid over a configuration file.

mod cald;
#[cfg(test)]
mod tests;

pub use cald::CaldFlags;

use crate::config::{BestMetric, DeviceChoice, RunConfig, ScheduleKind, Stated, Task, spelled};
use crate::model::{is_speech, task_of};
use anyhow::Result;
use clap::Args;
use serde::de::DeserializeOwned;
use serde::de::value::{Error as ValueError, StrDeserializer};
use std::path::{Path, PathBuf};

/// Takes the spellings that the TOML file takes, with `-` for `_` allowed; the error lists them.
pub(super) fn choice<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let text = text.replace('-', "_");
    T::deserialize(StrDeserializer::<ValueError>::new(&text)).map_err(|error| error.to_string())
}

/// Warm-up as a whole number of steps, or as a share of the run when it is written with a point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WarmUp {
    /// Optimizer steps.
    Steps(u64),
    /// Share of the run, 0 to 1.
    Share(f64),
}

fn warm_up(text: &str) -> Result<WarmUp, String> {
    if let Ok(steps) = text.parse() {
        return Ok(WarmUp::Steps(steps));
    }
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(WarmUp::Share(share)),
        _ => Err("expected a number of steps (100) or a share of the run (0.1)".into()),
    }
}

/// Data, length, optimizer and output of a training run. What is not given comes from `--config`, else from the defaults.
#[derive(Args, Debug, Default, Clone)]
pub struct RunFlags {
    /// TOML file that describes the run; flags go over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// classify (labels of texts or clips), lm (next token of running text) or ctc (what is said in clips) [default: what the
    /// model is made for: lm for GPT-NeoX and Mamba, ctc for Wav2Vec2ForCTC, else classify]
    #[arg(long, value_name = "NAME", value_parser = choice::<Task>)]
    pub task: Option<Task>,
    /// Training files: .jsonl, .csv or .tsv with labels; for lm .txt or .jsonl; for speech .jsonl with the fields audio (a file,
    /// or a list of files) and text or label
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub train: Vec<PathBuf>,
    /// Validation files; without one nothing is evaluated
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub valid: Vec<PathBuf>,
    /// Field or column of the text [default: text, text_a, sentence or sentence1]
    #[arg(long, value_name = "NAME")]
    pub text_field: Option<String>,
    /// Field or column of the second text of a pair
    #[arg(long, value_name = "NAME")]
    pub pair_field: Option<String>,
    /// Field or column of the label [default: label]
    #[arg(long, value_name = "NAME")]
    pub label_field: Option<String>,
    /// Names of the labels in the order of their numbers, separated by commas
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    pub labels: Vec<String>,
    /// Longest sequence in tokens [default: as long as the model can take]
    #[arg(long, value_name = "N")]
    pub max_length: Option<usize>,
    /// Longest clip in seconds (speech) [default: 60]
    #[arg(long, value_name = "SECONDS")]
    pub max_seconds: Option<f64>,
    /// Tokens of a training block (lm) [default: 256]
    #[arg(long, value_name = "N")]
    pub block_length: Option<usize>,
    /// Use only the first N training examples
    #[arg(long, value_name = "N")]
    pub train_limit: Option<usize>,
    /// Use only the first N validation examples
    #[arg(long, value_name = "N")]
    pub valid_limit: Option<usize>,
    /// Passes over the training data; fractions are allowed [default: 3]
    #[arg(long, value_name = "N")]
    pub epochs: Option<f64>,
    /// Optimizer steps, in place of epochs
    #[arg(long, value_name = "N")]
    pub max_steps: Option<u64>,
    /// Examples in a forward pass [default: 32]
    #[arg(long, value_name = "N")]
    pub batch_size: Option<usize>,
    /// Seconds of audio in a forward pass, padding included (speech) [default: 60]
    #[arg(long, value_name = "SECONDS")]
    pub batch_seconds: Option<f64>,
    /// Leave the convolutions before the encoder as they are (speech)
    #[arg(long)]
    pub freeze_feature_encoder: bool,
    /// Batches in an optimizer step [default: 1]
    #[arg(long, value_name = "N")]
    pub accumulation: Option<usize>,
    /// Examples in a forward pass of evaluation [default: 64 texts, 16 clips, for lm what a large vocabulary leaves of 64 blocks]
    #[arg(long, value_name = "N")]
    pub eval_batch_size: Option<usize>,
    /// Evaluate every N steps [default: every epoch]
    #[arg(long, value_name = "N")]
    pub eval_every: Option<u64>,
    /// Read losses back every N steps [default: 10]
    #[arg(long, value_name = "N")]
    pub log_every: Option<u64>,
    /// Write the resume state every N steps [default: at every evaluation and every epoch's end]
    #[arg(long, value_name = "N")]
    pub save_every: Option<u64>,
    /// Keep N checkpoints, evenly over the run, in OUT/checkpoints (waypoints for `convert`) [default: 0]
    #[arg(long, value_name = "N")]
    pub checkpoints: Option<u64>,
    /// Stop after N evaluations without a better one [default: never]
    #[arg(long, value_name = "N")]
    pub patience: Option<u64>,
    /// accuracy, loss or wer: what the best checkpoint is chosen by [default: accuracy; loss for lm, wer for ctc]
    #[arg(long, value_name = "NAME", value_parser = choice::<BestMetric>)]
    pub best_metric: Option<BestMetric>,
    /// Train without dropout and without masked frames
    #[arg(long)]
    pub no_dropout: bool,
    /// Highest learning rate [default: 5e-5; 3e-4 for lm and speech]
    #[arg(long, value_name = "RATE")]
    pub lr: Option<f64>,
    /// Learning rate at the end, for schedules that have one [default: 0; a tenth of --lr for lm, a hundredth for speech]
    #[arg(long, value_name = "RATE")]
    pub min_lr: Option<f64>,
    /// constant, linear, cosine, cosine-to-minimum, cosine-clipped, cosine-early or exponential [default: linear;
    /// cosine-to-minimum for lm, exponential for speech]
    #[arg(long, value_name = "NAME", value_parser = choice::<ScheduleKind>)]
    pub schedule: Option<ScheduleKind>,
    /// Steps of warm-up (100), or their share of the run (0.1) [default: 0.1; 0.03 for lm]
    #[arg(long, value_name = "N", value_parser = warm_up)]
    pub warmup: Option<WarmUp>,
    /// Decay of weights; biases and LayerNorm have none [default: 0.01; 0.1 for lm]
    #[arg(long, value_name = "RATE")]
    pub weight_decay: Option<f64>,
    /// Largest norm of all gradients together; 0 does not clip [default: 1]
    #[arg(long, value_name = "NORM")]
    pub clip: Option<f64>,
    /// Seed of data order, dropout and new parameters [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// auto, gpu or cpu [default: auto]
    #[arg(long, value_name = "NAME", value_parser = choice::<DeviceChoice>)]
    pub device: Option<DeviceChoice>,
    /// Run folder to write, apart from the models that the run reads [default: runs/finetune, or runs/convert for convert]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on from the state in the run folder
    #[arg(long)]
    pub resume: bool,
    /// Start afresh in a run folder that is there, whose models, checkpoints and metrics are removed
    #[arg(long, conflicts_with = "resume")]
    pub overwrite: bool,
}

/// Puts the value of a flag that was given into its place.
fn over<T>(place: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *place = value;
    }
}

/// The same for a place that may be empty.
fn over_some<T>(place: &mut Option<T>, flag: Option<T>) {
    if flag.is_some() {
        *place = flag;
    }
}

fn over_list<T>(place: &mut Vec<T>, flag: Vec<T>) {
    if !flag.is_empty() {
        *place = flag;
    }
}

/// The task that a model is made for; where that is not the usual one, it is said.
fn told_task(source: Option<&Path>) -> Task {
    let Some((source, (task, why))) = source.and_then(|source| Some((source, task_of(source)?)))
    else {
        return Task::default();
    };
    if task != Task::default() || is_speech(Some(source)) {
        eprintln!(
            "task {}: {} is {why} (--task chooses another)",
            spelled(task),
            source.display()
        );
    }
    task
}

impl RunFlags {
    /// The configuration file (or the defaults of the task) with these flags over it; `converting` is for `convert`. What
    /// kind of model it is for, and which task where none is named, is read from `source`, a model folder or a config.json,
    /// where one is given on the line.
    ///
    /// # Errors
    /// When the file cannot be read or has an unknown key.
    pub fn resolve(&self, source: Option<&Path>, converting: bool) -> Result<RunConfig> {
        let file = self.config.as_deref().map(Stated::read).transpose()?;
        let file = file.unwrap_or_default();
        let source = source.or(file.source());
        let task = match self.task.or(file.task()) {
            Some(task) => task,
            None => told_task(source),
        };
        let defaults = RunConfig::defaults(task, is_speech(source), converting);
        let mut config = file.over(defaults.at_rate(self.lr.or(file.learning_rate())))?;
        let flags = self.clone();
        over(&mut config.output, flags.out);
        over(&mut config.device, flags.device);
        over(&mut config.seed, flags.seed);
        // What is asked for here goes over the opposite in a file.
        config.resume = (config.resume || flags.resume) && !flags.overwrite;
        config.overwrite = (config.overwrite || flags.overwrite) && !flags.resume;

        let data = &mut config.data;
        over_list(&mut data.train, flags.train);
        over_list(&mut data.valid, flags.valid);
        over_list(&mut data.labels, flags.labels);
        over_some(&mut data.text_field, flags.text_field);
        over_some(&mut data.pair_field, flags.pair_field);
        over(&mut data.label_field, flags.label_field);
        over(&mut data.block_length, flags.block_length);
        over(&mut data.max_seconds, flags.max_seconds);
        over_some(&mut data.max_length, flags.max_length);
        over_some(&mut data.train_limit, flags.train_limit);
        over_some(&mut data.valid_limit, flags.valid_limit);

        let train = &mut config.train;
        if flags.epochs.is_some() {
            // A file's max_steps would otherwise win over the epochs asked for here.
            train.max_steps = None;
        }
        over(&mut train.epochs, flags.epochs);
        over_some(&mut train.max_steps, flags.max_steps);
        over(&mut train.batch_size, flags.batch_size);
        over(&mut train.batch_seconds, flags.batch_seconds);
        train.freeze_feature_encoder |= flags.freeze_feature_encoder;
        over(&mut train.accumulation, flags.accumulation);
        over_some(&mut train.eval_batch_size, flags.eval_batch_size);
        over_some(&mut train.eval_every, flags.eval_every);
        over(&mut train.log_every, flags.log_every);
        over_some(&mut train.save_every, flags.save_every);
        over(&mut train.checkpoints, flags.checkpoints);
        over_some(&mut train.patience, flags.patience);
        over(&mut train.best_metric, flags.best_metric);
        train.dropout &= !flags.no_dropout;

        let optimizer = &mut config.optimizer;
        over(&mut optimizer.learning_rate, flags.lr);
        over(&mut optimizer.minimum_learning_rate, flags.min_lr);
        over(&mut optimizer.schedule, flags.schedule);
        match flags.warmup {
            Some(WarmUp::Steps(steps)) => optimizer.warmup_steps = Some(steps),
            Some(WarmUp::Share(share)) => {
                (optimizer.warmup_steps, optimizer.warmup_ratio) = (None, share)
            }
            None => {}
        }
        over(&mut optimizer.weight_decay, flags.weight_decay);
        over(&mut optimizer.clip, flags.clip);
        Ok(config)
    }
}
