//! What can be known to be wrong without reading anything.

use anyhow::{Result, bail};

use super::{Guide, MixerChoice, RunConfig, Task, spelled};

impl RunConfig {
    /// Checks what can be known without reading anything; the message names the key.
    pub fn validate(&self) -> Result<()> {
        let t = &self.train;
        let o = &self.optimizer;
        let c = &self.cald;
        let ranges = [
            ("train.epochs", t.epochs, 0.0, f64::MAX),
            ("train.batch_seconds", t.batch_seconds, 1e-3, f64::MAX),
            ("data.max_seconds", self.data.max_seconds, 1e-3, f64::MAX),
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
            (
                "train.eval_batch_size",
                t.eval_batch_size.unwrap_or(1) as u64,
            ),
            ("train.eval_every", t.eval_every.unwrap_or(1)),
            ("train.save_every", t.save_every.unwrap_or(1)),
            ("train.log_every", t.log_every),
            ("train.patience", t.patience.unwrap_or(1)),
            ("train.max_steps", t.max_steps.unwrap_or(1)),
            ("train.bucket_batches", t.bucket_batches as u64),
            ("train.pad_to_multiple", t.pad_to_multiple as u64),
            ("data.block_length", self.data.block_length as u64),
            ("data.sampling_rate", self.data.sampling_rate.into()),
            ("cald.head_dim", c.head_dim.unwrap_or(1) as u64),
            ("cald.n_groups", c.n_groups as u64),
            ("cald.d_state", c.d_state as u64),
            ("cald.d_conv", c.d_conv as u64),
            ("cald.expand", c.expand as u64),
            ("cald.dt_rank", c.dt_rank.unwrap_or(1) as u64),
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
        // Which of the two a classifier takes, only its model says.
        let (fits, expected) = match self.task {
            Task::Classify => (
                c.mixer != MixerChoice::Mamba,
                "linformer (texts) or bimamba2 (speech)",
            ),
            Task::Ctc => (c.mixer == MixerChoice::BiMamba2, "bimamba2"),
            Task::Lm => (c.mixer == MixerChoice::Mamba, "mamba"),
        };
        if !fits {
            bail!(
                "cald.mixer: expected {expected} for task {}, found {}",
                spelled(self.task),
                spelled(c.mixer)
            );
        }
        if c.guide == Guide::Hybrid && matches!(c.hybrid_guide, Guide::Hybrid | Guide::Unguided) {
            bail!("cald.hybrid_guide: expected target, trajectory or waypoint");
        }
        Ok(())
    }
}
