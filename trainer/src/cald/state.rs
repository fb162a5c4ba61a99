//! What a run needs to go on as if it had never stopped.
//!
//! `state/` holds both models, both optimizers and the progress. Data order, dropout and rates are functions of the
//! configuration and the step, so they need no state. The folder is written beside its place and swapped whole.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use caldera_models::WeightDtype;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::family::Family;
use super::folder::remove;
use super::guide::Teacher;
use super::run::Run;
use crate::config::RunConfig;
use crate::metrics::EvalRecord;
use crate::model::Model;
use crate::optimizer::AdamW;

/// How far a run is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Optimizer steps done.
    pub step: u64,
    /// The evaluation that `best/` is of.
    pub best: Option<EvalRecord>,
    /// The last evaluation.
    pub last: Option<EvalRecord>,
    /// Evaluations since the best.
    pub stale: u64,
    /// Patience has run out.
    pub stopped_early: bool,
    /// Wall-clock seconds so far.
    pub seconds: f64,
}

/// `state/progress.json`.
#[derive(Serialize, Deserialize)]
struct Written {
    progress: Progress,
    /// The configuration without what may differ after a stop.
    config: Value,
}

/// The state folder of a run.
pub(super) struct State {
    place: PathBuf,
    fresh: PathBuf,
    old: PathBuf,
}

impl State {
    /// Below the run folder.
    pub fn new(run: &Path) -> Self {
        Self {
            place: run.join("state"),
            fresh: run.join("state.new"),
            old: run.join("state.old"),
        }
    }

    /// The folder to read: the old one where a stop fell between the two renames.
    fn readable(&self) -> Option<&Path> {
        [&self.place, &self.old]
            .into_iter()
            .find(|folder| folder.join("progress.json").exists())
            .map(PathBuf::as_path)
    }

    /// Whether there is something to go on from.
    pub fn exists(&self) -> bool {
        self.readable().is_some()
    }

    /// Removes the state of an earlier run.
    pub fn clear(&self) -> Result<()> {
        for folder in [&self.place, &self.fresh, &self.old] {
            remove(folder)?;
        }
        Ok(())
    }

    /// Writes everything; the state before stays whole until then.
    pub fn save<F: Family>(&self, run: &Run<F>, progress: &Progress) -> Result<PathBuf> {
        let fresh = &self.fresh;
        remove(fresh)?;
        std::fs::create_dir_all(fresh)
            .with_context(|| format!("{}: cannot be made", fresh.display()))?;
        run.student
            .to_checkpoint()?
            .write(&fresh.join("student"), WeightDtype::F32)?;
        run.optimizer
            .save(&fresh.join("student_optimizer.safetensors"))?;
        if let Teacher::Training(trainee) = &run.teacher {
            trainee
                .model
                .to_checkpoint()?
                .write(&fresh.join("teacher"), WeightDtype::F32)?;
            trainee
                .optimizer
                .save(&fresh.join("teacher_optimizer.safetensors"))?;
        }
        let written = Written {
            progress: progress.clone(),
            config: comparable(&run.config)?,
        };
        let path = fresh.join("progress.json");
        std::fs::write(&path, serde_json::to_vec_pretty(&written)?)
            .with_context(|| format!("{}: cannot be written", path.display()))?;
        remove(&self.old)?;
        let rename = |from: &Path, to: &Path| {
            std::fs::rename(from, to)
                .with_context(|| format!("{}: cannot be moved to {}", from.display(), to.display()))
        };
        if self.place.exists() {
            rename(&self.place, &self.old)?;
        }
        rename(fresh, &self.place)?;
        remove(&self.old)?;
        Ok(self.place.clone())
    }

    /// Puts everything back into a run that has just been set up.
    ///
    /// # Errors
    /// The state is of a run with another configuration, or is damaged.
    pub fn load<F: Family>(&self, run: &mut Run<F>) -> Result<Progress> {
        let folder = self.readable().context("no state to go on from")?;
        let path = folder.join("progress.json");
        let bytes =
            std::fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
        let written: Written = serde_json::from_slice(&bytes).with_context(|| {
            format!(
                "{}: damaged; start the run again without resuming",
                path.display()
            )
        })?;
        let mut differing = Vec::new();
        differences(
            "",
            &written.config,
            &comparable(&run.config)?,
            &mut differing,
        );
        if !differing.is_empty() {
            bail!(
                "{}: the state is of a run with another configuration: {}. Use the configuration in config.toml, or another output folder",
                path.display(),
                differing.join("; ")
            );
        }
        let device = run.device.clone();
        let student: F::Model = restored(&run.student, &folder.join("student"), &device)?;
        run.student = run.family.trainable(student, &run.config);
        let file = folder.join("student_optimizer.safetensors");
        run.optimizer = AdamW::load(&run.config.optimizer, &file, &run.student, &device)?;
        if written.progress.step >= run.guided_steps {
            run.teacher = Teacher::None;
        }
        if let Teacher::Training(trainee) = &mut run.teacher
            && folder.join("teacher").exists()
        {
            let teacher: F::Model = restored(&trainee.model, &folder.join("teacher"), &device)?;
            trainee.model = run.family.trainable(teacher, &run.config);
            let file = folder.join("teacher_optimizer.safetensors");
            trainee.optimizer = AdamW::load(&run.config.optimizer, &file, &trainee.model, &device)?;
        }
        Ok(written.progress)
    }
}

/// A model of the state, which must have the parameters of the one that was set up.
fn restored<M: Model>(expected: &M, folder: &Path, device: &burn::tensor::Device) -> Result<M> {
    let model = M::load(folder, device)?;
    if model.parameter_shapes() != expected.parameter_shapes() {
        bail!(
            "{}: the state holds another model than the configuration describes",
            folder.display()
        );
    }
    Ok(model)
}

/// The configuration as JSON, without where, and without whether to resume or to write over.
fn comparable(config: &RunConfig) -> Result<Value> {
    let mut value = serde_json::to_value(config).context("the configuration as JSON")?;
    if let Some(map) = value.as_object_mut() {
        for key in ["output", "resume", "overwrite", "device"] {
            map.shift_remove(key);
        }
    }
    Ok(value)
}

/// Keys in which two configurations differ.
fn differences(key: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in new {
                let key = if key.is_empty() {
                    name.clone()
                } else {
                    format!("{key}.{name}")
                };
                differences(&key, old.get(name).unwrap_or(&Value::Null), value, found);
            }
        }
        _ if old != new => found.push(format!("{key} was {old}, is {new}")),
        _ => {}
    }
}
