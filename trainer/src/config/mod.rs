//! One file describes a run: [`RunConfig`], read from TOML, with command line flags laid over it.

mod cald;
mod choices;
mod data;
mod file;
mod task;
mod validate;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub use cald::{CaldConfig, OptimizerConfig};
pub(crate) use choices::spelled;
pub use choices::{
    BestMetric, Decay, DeviceChoice, Guide, InitChoice, LayerLoss, MixerChoice, ScheduleKind,
    SharingChoice, StudentFrom, Task,
};
pub use data::{DataConfig, TrainConfig};
pub use file::Stated;

/// A run: `finetune` reads all but `[cald]`, `convert` all of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// `classify`, `lm` or `ctc`. Default: what the model is made for, else `classify`.
    pub task: Task,
    /// config.json of a model that starts from random weights, in place of `model` (language models and
    /// speech). Default: none.
    pub architecture: Option<PathBuf>,
    /// Hugging Face folder of the model to start from (the pretrained one). Default: none.
    pub model: Option<PathBuf>,
    /// Run folder to write; none of a model that the run reads. Default: `runs/finetune`, or `runs/convert`.
    pub output: PathBuf,
    /// Go on from the state in `output`; starts afresh when there is none. Default: false.
    pub resume: bool,
    /// Start afresh in a folder that holds a run, which is removed. Default: false.
    pub overwrite: bool,
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
            task: Task::Classify,
            architecture: None,
            model: None,
            output: PathBuf::from("runs/finetune"),
            resume: false,
            overwrite: false,
            device: DeviceChoice::Auto,
            seed: 0,
            data: DataConfig::default(),
            train: TrainConfig::default(),
            optimizer: OptimizerConfig::default(),
            cald: CaldConfig::default(),
        }
    }
}

impl RunConfig {
    /// The defaults of a task, `speech` where the model takes sound. For language models those of the paper (arXiv
    /// 2410.06846): layer loss over normed states with weight 15, a rate of 3e-4 on a cosine to 3e-5 after 3 % of warm-up,
    /// decay 0.1, in a conversion of the mixer alone. For speech too: the same layer loss over all layers, a rate of 3e-4
    /// that decays exponentially, and for recognition a divergence of the logits with weight 1.
    pub fn defaults(task: Task, speech: bool, converting: bool) -> Self {
        let mut config = Self {
            task,
            ..Self::default()
        };
        if converting {
            config.output = PathBuf::from("runs/convert");
        }
        if task == Task::Lm {
            config.train.best_metric = BestMetric::Loss;
            let optimizer = &mut config.optimizer;
            optimizer.learning_rate = 3e-4;
            optimizer.minimum_learning_rate = 3e-5;
            optimizer.schedule = ScheduleKind::CosineToMinimum;
            optimizer.warmup_ratio = 0.03;
            optimizer.weight_decay = 0.1;
            if converting {
                optimizer.decay = Decay::Mixer;
            }
            config.cald.mixer = MixerChoice::Mamba;
            config.cald.layer_loss = LayerLoss::NormedMean;
            config.cald.skip_last_layer = true;
            config.cald.alpha_layer = 15.0;
        } else if speech || task == Task::Ctc {
            let optimizer = &mut config.optimizer;
            optimizer.learning_rate = 3e-4;
            optimizer.minimum_learning_rate = 3e-6;
            optimizer.schedule = ScheduleKind::Exponential;
            config.cald.mixer = MixerChoice::BiMamba2;
            config.cald.d_state = 128;
            config.cald.layer_loss = LayerLoss::NormedMean;
            config.cald.alpha_layer = 15.0;
            if task == Task::Ctc {
                config.train.best_metric = BestMetric::Wer;
                config.cald.alpha_logits = 1.0;
            }
        }
        config
    }

    /// The folder or file that says what kind of model a run begins with.
    pub fn source(&self) -> Option<&Path> {
        let named = [&self.architecture, &self.cald.teacher, &self.model];
        let named = named.into_iter().flatten();
        named
            .chain(self.cald.waypoints.first())
            .next()
            .map(PathBuf::as_path)
    }

    /// The same around another highest learning rate: the lowest one keeps its share of it.
    pub fn at_rate(mut self, rate: Option<f64>) -> Self {
        let optimizer = &mut self.optimizer;
        if let Some(rate) = rate {
            optimizer.minimum_learning_rate *= rate / optimizer.learning_rate;
            optimizer.learning_rate = rate;
        }
        self
    }

    /// The file that [`Stated::read`] takes.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).context("cannot write the run's configuration as TOML")
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
    fn an_unset_minimum_follows_the_rate() {
        let of = |task, rate| {
            let config = RunConfig::defaults(task, false, true).at_rate(rate);
            config.validate().unwrap();
            config.optimizer
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * b, "{a} {b}");
        for (task, share) in [(Task::Lm, 0.1), (Task::Ctc, 0.01)] {
            close(of(task, None).minimum_learning_rate, 3e-4 * share);
            close(of(task, Some(1e-5)).minimum_learning_rate, 1e-5 * share);
            assert_eq!(of(task, Some(0.0)).minimum_learning_rate, 0.0);
        }
        let classify = of(Task::Classify, Some(1e-6));
        assert_eq!(
            (classify.learning_rate, classify.minimum_learning_rate),
            (1e-6, 0.0)
        );
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
