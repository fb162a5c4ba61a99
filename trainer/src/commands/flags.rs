//! Flags that training commands share, laid over a configuration file.

use crate::config::{
    BestMetric, DeviceChoice, Guide, InitChoice, LayerLoss, MixerChoice, RunConfig, ScheduleKind,
    SharingChoice, StudentFrom, Task,
};
use crate::model::is_speech;
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
    /// classify (labels of texts or clips), lm (next token of running text) or ctc (what is said in clips) [default: classify]
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
    /// Examples in a forward pass of evaluation [default: 64]
    #[arg(long, value_name = "N")]
    pub eval_batch_size: Option<usize>,
    /// Evaluate every N steps [default: every epoch]
    #[arg(long, value_name = "N")]
    pub eval_every: Option<u64>,
    /// Read losses back every N steps [default: 10]
    #[arg(long, value_name = "N")]
    pub log_every: Option<u64>,
    /// Write the resume state every N steps [default: at every evaluation]
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
    /// Highest learning rate [default: 5e-5]
    #[arg(long, value_name = "RATE")]
    pub lr: Option<f64>,
    /// Learning rate at the end, for schedules that have one [default: 0]
    #[arg(long, value_name = "RATE")]
    pub min_lr: Option<f64>,
    /// constant, linear, cosine, cosine-to-minimum, cosine-clipped, cosine-early or exponential [default: linear]
    #[arg(long, value_name = "NAME", value_parser = choice::<ScheduleKind>)]
    pub schedule: Option<ScheduleKind>,
    /// Steps of warm-up (100), or their share of the run (0.1) [default: 0.1]
    #[arg(long, value_name = "N", value_parser = warm_up)]
    pub warmup: Option<WarmUp>,
    /// Decay of weights; biases and LayerNorm have none [default: 0.01]
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
    /// Run folder to write [default: runs/run]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on from the state in the run folder
    #[arg(long)]
    pub resume: bool,
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

impl RunFlags {
    /// The configuration file (or the defaults of the task) with these flags over it; `converting` is for `convert`. What
    /// kind of model it is for is read from `source`, a model folder or a config.json, where one is given on the line.
    ///
    /// # Errors
    /// When the file cannot be read or has an unknown key.
    pub fn resolve(&self, source: Option<&Path>, converting: bool) -> Result<RunConfig> {
        let mut config = match &self.config {
            Some(path) => RunConfig::read(path, self.task, source, converting)?,
            None => {
                RunConfig::defaults(self.task.unwrap_or_default(), is_speech(source), converting)
            }
        };
        let flags = self.clone();
        over(&mut config.output, flags.out);
        over(&mut config.device, flags.device);
        over(&mut config.seed, flags.seed);
        config.resume |= flags.resume;

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
        over(&mut train.eval_batch_size, flags.eval_batch_size);
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
    /// mse-sum or normed-mean [default: mse-sum]
    #[arg(long, value_name = "NAME", value_parser = choice::<LayerLoss>)]
    pub layer_loss: Option<LayerLoss>,
    /// Weight of the layer loss [default: 1]
    #[arg(long, value_name = "WEIGHT")]
    pub alpha_layer: Option<f64>,
    /// Weight of the divergence from the teacher's logits [default: 0]
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: RunFlags,
        #[command(flatten)]
        cald: CaldFlags,
    }

    fn parse(words: &str) -> Line {
        Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace())).unwrap()
    }

    #[test]
    fn flags_go_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.toml");
        std::fs::write(&file, "seed = 4\n[train]\nmax_steps = 9\nbatch_size = 5\n[cald]\nk = 32\nguide = \"hybrid\"\n").unwrap();
        let line = parse(&format!(
            "--config {} --epochs 2 --k 16 --schedule cosine-clipped --warmup 7",
            file.display()
        ));
        let mut config = line.run.resolve(None, true).unwrap();
        line.cald.apply(&mut config);
        assert_eq!(
            (config.seed, config.train.batch_size, config.cald.k),
            (4, 5, 16)
        );
        assert_eq!((config.train.max_steps, config.train.epochs), (None, 2.0));
        assert_eq!(
            (config.cald.guide, config.optimizer.schedule),
            (Guide::Hybrid, ScheduleKind::CosineClipped)
        );
        assert_eq!(
            (config.optimizer.warmup_steps, config.train.eval_batch_size),
            (Some(7), 64)
        );
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_key_and_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run.toml");
        std::fs::write(&file, "[train]\nepoch = 2\n").unwrap();
        let error = format!(
            "{:#}",
            parse(&format!("--config {}", file.display()))
                .run
                .resolve(None, true)
                .unwrap_err()
        );
        assert!(
            error.contains("epoch") && error.contains("run.toml"),
            "{error}"
        );
    }

    #[test]
    fn a_bad_choice_lists_the_good_ones() {
        let error = Line::try_parse_from(["x", "--guide", "nobody"])
            .err()
            .unwrap()
            .to_string();
        for name in ["unguided", "target", "trajectory", "waypoint", "hybrid"] {
            assert!(error.contains(name), "{error}");
        }
        assert!(Line::try_parse_from(["x", "--warmup", "1.5"]).is_err());
        assert_eq!(parse("--warmup 0.25").run.warmup, Some(WarmUp::Share(0.25)));
    }
}
