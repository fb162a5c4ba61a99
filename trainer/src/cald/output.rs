//! What a run writes into its folder.

use std::path::PathBuf;

use anyhow::Result;
use caldera_models::WeightDtype;

use super::family::Family;
use super::run::Run;
use super::state::{Progress, State};
use crate::config::RunConfig;
use crate::metrics::{JsonLines, MetricsLine, Observer, SavedKind, SavedRecord};
use crate::model::Model;
use crate::report::write_whole;

/// The folder, the observer and the metrics file of a run.
pub(super) struct Output<'a> {
    pub folder: PathBuf,
    pub lines: JsonLines,
    pub observer: &'a mut dyn Observer,
}

impl Output<'_> {
    fn saved(&mut self, step: u64, kind: SavedKind, path: PathBuf) {
        let record = SavedRecord { step, kind, path };
        // Paths in the file are relative: a run folder may be moved.
        let relative = record
            .path
            .strip_prefix(&self.folder)
            .unwrap_or(&record.path)
            .to_path_buf();
        self.lines.write(&MetricsLine::Saved(SavedRecord {
            path: relative,
            ..record
        }));
        self.observer.saved(&record);
    }

    /// Writes the model in training to its place of this kind.
    pub fn model(&mut self, model: &impl Model, step: u64, kind: SavedKind) -> Result<()> {
        let path = match kind {
            SavedKind::Best => self.folder.join("best"),
            SavedKind::Last => self.folder.join("last"),
            SavedKind::Checkpoint => self.folder.join("checkpoints").join(format!("step-{step}")),
            SavedKind::State => self.folder.join("state"),
        };
        model.to_checkpoint()?.write(&path, WeightDtype::F32)?;
        self.saved(step, kind, path);
        Ok(())
    }

    /// Writes the resume state, where the configuration wants one.
    pub fn state<F: Family>(&mut self, run: &Run<F>, progress: &Progress) -> Result<()> {
        if run.config.train.save_state {
            let path = State::new(&self.folder).save(run, progress)?;
            self.saved(progress.step, SavedKind::State, path);
        }
        Ok(())
    }
}

/// `config.toml` of the run folder. Leave to write over a run is given once: the file does not pass it on.
pub(super) fn write_config(config: &RunConfig) -> Result<()> {
    let config = RunConfig {
        overwrite: false,
        ..config.clone()
    };
    let text = config.to_toml()?;
    write_whole(&config.output.join("config.toml"), text.as_bytes())
}
