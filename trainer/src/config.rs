//! One file describes a run: [`RunConfig`], read from TOML, with command line flags laid over it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Where to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// A hardware GPU through wgpu; where there is none, the flex CPU backend.
    #[default]
    Auto,
    /// wgpu on whatever adapter there is, software ones included; an error when there is none.
    Gpu,
    /// The flex CPU backend.
    Cpu,
}

/// Who guides the student (DESIGN.md, section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Guide {
    /// Nobody: the task loss alone.
    Unguided,
    /// The transformer already fine-tuned on the task.
    #[default]
    Target,
    /// The transformer being fine-tuned beside the student.
    Trajectory,
    /// Saved checkpoints of that fine-tuning, spread evenly over the run.
    Waypoint,
    /// Another guide for the first steps, then the task loss alone.
    Hybrid,
}

/// Whose parameters the student starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StudentFrom {
    /// The fine-tuned teacher (`cald.teacher`).
    Teacher,
    /// The initial, pretrained model (`model`).
    Initial,
}

/// What takes the place of softmax attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MixerChoice {
    /// Linformer: keys and values projected to `k` positions.
    #[default]
    Linformer,
}

/// Which projections Linformer layers have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SharingChoice {
    /// Every layer has one for keys and one for values.
    #[default]
    None,
    /// Every layer has one for both.
    Kv,
    /// One for everything.
    Layer,
}

/// How Linformer projections start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitChoice {
    /// N(0, 1), as in the paper.
    #[default]
    Normal,
    /// Segment pooling: a sample no longer than `k` starts from its own attention.
    Segments,
}

/// How the distance between hidden states is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerLoss {
    /// Sum over embeddings and every layer of the mean square difference (the paper, text).
    #[default]
    MseSum,
    /// Mean over the layers of the same between states after a LayerNorm without weights.
    NormedMean,
}

/// The shape of the learning rate over the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// Warm-up, then the base rate.
    Constant,
    /// Warm-up, then a line to zero.
    #[default]
    Linear,
    /// Warm-up, then half a cosine to zero.
    Cosine,
    /// Warm-up, then half a cosine to the minimum.
    CosineToMinimum,
    /// Half a cosine to zero, lifted to the minimum wherever it is below.
    CosineClipped,
    /// `CosineToMinimum` one step ahead (transformers' `cosine_with_min_lr`).
    CosineEarly,
    /// Warm-up, then an exponential decay that reaches the minimum at the end.
    Exponential,
}

/// What decides which checkpoint is the best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BestMetric {
    /// Share of right answers on the validation data; higher is better.
    #[default]
    Accuracy,
    /// Cross entropy on the validation data; lower is better.
    Loss,
}

/// A run: `finetune` reads all but `[cald]`, `convert` all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Hugging Face folder of the model to start from (the pretrained one). Default: none.
    pub model: Option<PathBuf>,
    /// Run folder to write. Default: `runs/run`.
    pub output: PathBuf,
    /// Go on from the state in `output`; starts afresh when there is none. Default: false.
    pub resume: bool,
    /// `auto`, `gpu` or `cpu`. Default: `auto`.
    pub device: DeviceChoice,
    /// Seed of the data order, of dropout and of new parameters. Default: 0.
    pub seed: u64,
    /// Where the examples come from.
    pub data: DataConfig,
    /// Length of the run, evaluation, checkpoints.
    pub train: TrainConfig,
    /// AdamW and the learning rate.
    pub optimizer: OptimizerConfig,
    /// Conversion by layerwise distillation.
    pub cald: CaldConfig,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            model: None,
            output: PathBuf::from("runs/run"),
            resume: false,
            device: DeviceChoice::Auto,
            seed: 0,
            data: DataConfig::default(),
            train: TrainConfig::default(),
            optimizer: OptimizerConfig::default(),
            cald: CaldConfig::default(),
        }
    }
}

/// `[data]`: JSON Lines, CSV and TSV by extension (plain text, one a line, as `.txt`, for unlabelled text).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Training files with labels. Default: none.
    pub train: Vec<PathBuf>,
    /// Validation files with labels. Default: none, no evaluation.
    pub valid: Vec<PathBuf>,
    /// More texts for the distillation losses; labels in them are ignored. Default: none.
    pub unlabelled: Vec<PathBuf>,
    /// Field of the text. Default: the first of `text`, `text_a`, `sentence`, `sentence1` that is there.
    pub text_field: Option<String>,
    /// Field of the second text of a pair. Default: `text_b` beside `text_a`, `sentence2` beside `sentence1`.
    pub pair_field: Option<String>,
    /// Field of the label, an integer or a name. Default: `label`.
    pub label_field: String,
    /// Names of the labels in order of their numbers. Default: the model's, else those of the training data, sorted.
    pub labels: Vec<String>,
    /// Longest sequence in tokens, special ones counted. Default: as long as the model can take.
    pub max_length: Option<usize>,
    /// Use only the first N training examples. Default: all.
    pub train_limit: Option<usize>,
    /// Use only the first N validation examples. Default: all.
    pub valid_limit: Option<usize>,
    /// Use only the first N unlabelled texts. Default: all.
    pub unlabelled_limit: Option<usize>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            train: Vec::new(),
            valid: Vec::new(),
            unlabelled: Vec::new(),
            text_field: None,
            pair_field: None,
            label_field: "label".into(),
            labels: Vec::new(),
            max_length: None,
            train_limit: None,
            valid_limit: None,
            unlabelled_limit: None,
        }
    }
}

/// `[train]`: length of the run, batches, evaluation, checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training data; fractions are allowed. Default: 3.
    pub epochs: f64,
    /// Optimizer steps; takes the place of `epochs`. Default: none.
    pub max_steps: Option<u64>,
    /// Examples in a forward pass. Default: 32.
    pub batch_size: usize,
    /// Batches in an optimizer step. Default: 1.
    pub accumulation: usize,
    /// Examples in a forward pass of evaluation. Default: 64.
    pub eval_batch_size: usize,
    /// Evaluate every N optimizer steps. Default: at the end of every epoch.
    pub eval_every: Option<u64>,
    /// Read losses back every N optimizer steps. Default: 10.
    pub log_every: u64,
    /// Stop after N evaluations without a better one. Default: never.
    pub patience: Option<u64>,
    /// `accuracy` or `loss`: what `best/` is chosen by. Default: `accuracy`.
    pub best_metric: BestMetric,
    /// Dropout as the model's config says. Default: true.
    pub dropout: bool,
    /// Checkpoints of the model in training to keep in `checkpoints/step-N`, evenly over the run. Default: 0.
    pub checkpoints: u64,
    /// Write the resume state every N optimizer steps. Default: at every evaluation.
    pub save_every: Option<u64>,
    /// Write a resume state at all; without it a run cannot be resumed. Default: true.
    pub save_state: bool,
    /// Batches in a chunk that is sorted by length. Default: 50.
    pub bucket_batches: usize,
    /// Pad lengths up to a multiple of N (fewer shapes on a GPU). Default: 1.
    pub pad_to_multiple: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 3.0,
            max_steps: None,
            batch_size: 32,
            accumulation: 1,
            eval_batch_size: 64,
            eval_every: None,
            log_every: 10,
            patience: None,
            best_metric: BestMetric::Accuracy,
            dropout: true,
            checkpoints: 0,
            save_every: None,
            save_state: true,
            bucket_batches: 50,
            pad_to_multiple: 1,
        }
    }
}

/// `[optimizer]`: AdamW and its learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Highest learning rate. Default: 5e-5.
    pub learning_rate: f64,
    /// Rate at the end, for the schedules that have one. Default: 0.
    pub minimum_learning_rate: f64,
    /// Shape over the run. Default: `linear`.
    pub schedule: ScheduleKind,
    /// Steps of warm-up; takes the place of `warmup_ratio`. Default: none.
    pub warmup_steps: Option<u64>,
    /// Share of the run that is warm-up. Default: 0.1.
    pub warmup_ratio: f64,
    /// Decay of the weights; biases and LayerNorm have none. Default: 0.01.
    pub weight_decay: f64,
    /// Decay of the mean of gradients. Default: 0.9.
    pub beta1: f64,
    /// Decay of the mean of squared gradients. Default: 0.999.
    pub beta2: f64,
    /// Added to the root in the denominator. Default: 1e-8.
    pub epsilon: f64,
    /// Largest norm of all gradients together; 0 does not clip. Default: 1.
    pub clip: f64,
    /// Factor on the learning rate of new parameters (the mixer's projections). Default: 1.
    pub projection_rate: f64,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 5e-5,
            minimum_learning_rate: 0.0,
            schedule: ScheduleKind::Linear,
            warmup_steps: None,
            warmup_ratio: 0.1,
            weight_decay: 0.01,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip: 1.0,
            projection_rate: 1.0,
        }
    }
}

/// `[cald]`: the student, its guide and the losses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaldConfig {
    /// Who guides. Default: `target`.
    pub guide: Guide,
    /// Hugging Face folder of the fine-tuned teacher (guide `target`). Default: none.
    pub teacher: Option<PathBuf>,
    /// Checkpoints for guide `waypoint`, in order; one folder with `step-N` folders in it is expanded. Default: none.
    pub waypoints: Vec<PathBuf>,
    /// Guide of the first part of a `hybrid` run. Default: `target`.
    pub hybrid_guide: Guide,
    /// Steps of that part; takes the place of `hybrid_fraction`. Default: none.
    pub hybrid_steps: Option<u64>,
    /// Share of the run that is guided. Default: 0.5.
    pub hybrid_fraction: f64,
    /// Whose parameters the student copies. Default: as in the paper, `teacher` for `target`, else `initial`.
    pub student_from: Option<StudentFrom>,
    /// What replaces attention. Default: `linformer`.
    pub mixer: MixerChoice,
    /// Positions that keys and values are projected to. Default: 256.
    pub k: usize,
    /// `none`, `kv` or `layer`. Default: `none`.
    pub sharing: SharingChoice,
    /// `normal` or `segments`. Default: `normal`.
    pub init: InitChoice,
    /// Tokens of a typical sample, for `segments`. Default: the median of the training data.
    pub reference_length: Option<usize>,
    /// `mse_sum` or `normed_mean`. Default: `mse_sum`.
    pub layer_loss: LayerLoss,
    /// Leave padding out of the layer loss. Default: true.
    pub mask_padding: bool,
    /// Weight of the task's cross entropy. Default: 1.
    pub task_weight: f64,
    /// Weight of the layer loss. Default: 1.
    pub alpha_layer: f64,
    /// Weight of the divergence from the teacher's logits. Default: 0.
    pub alpha_logits: f64,
    /// Temperature of that divergence. Default: 2.
    pub temperature: f64,
    /// Learning rate of the teacher (guide `trajectory`). Default: the student's.
    pub teacher_learning_rate: Option<f64>,
    /// Student steps to one step of the teacher (guide `trajectory`). Default: 1.
    pub teacher_every: u64,
}

impl Default for CaldConfig {
    fn default() -> Self {
        Self {
            guide: Guide::Target,
            teacher: None,
            waypoints: Vec::new(),
            hybrid_guide: Guide::Target,
            hybrid_steps: None,
            hybrid_fraction: 0.5,
            student_from: None,
            mixer: MixerChoice::Linformer,
            k: 256,
            sharing: SharingChoice::None,
            init: InitChoice::Normal,
            reference_length: None,
            layer_loss: LayerLoss::MseSum,
            mask_padding: true,
            task_weight: 1.0,
            alpha_layer: 1.0,
            alpha_logits: 0.0,
            temperature: 2.0,
            teacher_learning_rate: None,
            teacher_every: 1,
        }
    }
}

impl CaldConfig {
    /// The guide that is at work at the start: of a hybrid run, the one of its first part.
    pub fn first_guide(&self) -> Guide {
        match self.guide {
            Guide::Hybrid => self.hybrid_guide,
            guide => guide,
        }
    }
}

impl RunConfig {
    /// Reads a TOML file. Unknown keys are errors, missing ones take their defaults.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: cannot read the run's configuration", path.display()))?;
        toml::from_str(&text)
            .with_context(|| format!("{}: not a valid run configuration", path.display()))
    }

    /// The file that [`RunConfig::read`] takes.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).context("cannot write the run's configuration as TOML")
    }

    /// Checks what can be known without reading anything; the message names the key.
    pub fn validate(&self) -> Result<()> {
        let t = &self.train;
        let o = &self.optimizer;
        let c = &self.cald;
        let ranges = [
            ("train.epochs", t.epochs, 0.0, f64::MAX),
            ("optimizer.learning_rate", o.learning_rate, 0.0, 10.0),
            (
                "optimizer.minimum_learning_rate",
                o.minimum_learning_rate,
                0.0,
                o.learning_rate,
            ),
            ("optimizer.warmup_ratio", o.warmup_ratio, 0.0, 1.0),
            ("optimizer.weight_decay", o.weight_decay, 0.0, 10.0),
            ("optimizer.beta1", o.beta1, 0.0, 1.0 - f64::EPSILON),
            ("optimizer.beta2", o.beta2, 0.0, 1.0 - f64::EPSILON),
            ("optimizer.epsilon", o.epsilon, f64::MIN_POSITIVE, 1.0),
            ("optimizer.clip", o.clip, 0.0, f64::MAX),
            (
                "optimizer.projection_rate",
                o.projection_rate,
                0.0,
                f64::MAX,
            ),
            ("cald.hybrid_fraction", c.hybrid_fraction, 0.0, 1.0),
            ("cald.task_weight", c.task_weight, 0.0, f64::MAX),
            ("cald.alpha_layer", c.alpha_layer, 0.0, f64::MAX),
            ("cald.alpha_logits", c.alpha_logits, 0.0, f64::MAX),
            ("cald.temperature", c.temperature, 1e-3, f64::MAX),
            (
                "cald.teacher_learning_rate",
                c.teacher_learning_rate.unwrap_or(0.0),
                0.0,
                10.0,
            ),
        ];
        for (name, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                bail!("{name} = {value}: expected a number from {low} to {high}");
            }
        }
        let counts = [
            ("train.batch_size", t.batch_size as u64),
            ("train.accumulation", t.accumulation as u64),
            ("train.eval_batch_size", t.eval_batch_size as u64),
            ("train.eval_every", t.eval_every.unwrap_or(1)),
            ("train.save_every", t.save_every.unwrap_or(1)),
            ("train.log_every", t.log_every),
            ("train.patience", t.patience.unwrap_or(1)),
            ("train.max_steps", t.max_steps.unwrap_or(1)),
            ("train.bucket_batches", t.bucket_batches as u64),
            ("train.pad_to_multiple", t.pad_to_multiple as u64),
            ("data.max_length", self.data.max_length.unwrap_or(1) as u64),
            ("cald.k", c.k as u64),
            (
                "cald.reference_length",
                c.reference_length.unwrap_or(1) as u64,
            ),
            ("cald.teacher_every", c.teacher_every),
        ];
        for (name, value) in counts {
            if value == 0 {
                bail!("{name} = 0: expected at least 1");
            }
        }
        if t.max_steps.is_none() && t.epochs == 0.0 {
            bail!("train.epochs = 0: expected more than 0, or set train.max_steps");
        }
        if c.guide == Guide::Hybrid && matches!(c.hybrid_guide, Guide::Hybrid | Guide::Unguided) {
            bail!("cald.hybrid_guide: expected target, trajectory or waypoint");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_round_trip_and_defaults() {
        let mut config = RunConfig::default();
        config.data.train.push("a.jsonl".into());
        config.cald.guide = Guide::Hybrid;
        config.optimizer.schedule = ScheduleKind::CosineToMinimum;
        let text = config.to_toml().unwrap();
        assert_eq!(toml::from_str::<RunConfig>(&text).unwrap(), config);
        let short: RunConfig =
            toml::from_str("seed = 3\n[cald]\nguide = \"trajectory\"\n").unwrap();
        assert_eq!(short.cald.guide, Guide::Trajectory);
        assert_eq!(short.train, TrainConfig::default());
    }

    #[test]
    fn bad_values_and_keys_are_named() {
        let error = toml::from_str::<RunConfig>("[train]\nepoch = 3\n").unwrap_err();
        assert!(error.to_string().contains("epoch"), "{error}");
        let mut config = RunConfig::default();
        config.optimizer.learning_rate = -1.0;
        assert!(
            config
                .validate()
                .unwrap_err()
                .to_string()
                .contains("optimizer.learning_rate")
        );
        config = RunConfig::default();
        config.train.batch_size = 0;
        assert!(
            config
                .validate()
                .unwrap_err()
                .to_string()
                .contains("train.batch_size")
        );
        config = RunConfig::default();
        config.optimizer.warmup_ratio = f64::NAN;
        assert!(config.validate().is_err());
    }
}
