//! What training asks of a model, whatever its family.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use caldera_models::{Checkpoint, LanguageModel, Parameters, TextModel};

use crate::config::Task;

/// A model that can be trained, followed, saved and loaded.
pub trait Model: Parameters + Clone {
    /// Reads a Hugging Face folder.
    ///
    /// # Errors
    /// The folder cannot be read or holds something else; the message names file and tensor.
    fn load(folder: &Path, device: &Device) -> Result<Self>;
    /// What [`Model::load`] reads.
    ///
    /// # Errors
    /// The device cannot be read.
    fn to_checkpoint(&self) -> Result<Checkpoint>;
    /// Where its parameters lie.
    fn device(&self) -> Device;

    /// Shape of every parameter by name.
    fn parameter_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let mut shapes = BTreeMap::new();
        self.visit(&mut |name, parameter| {
            shapes.insert(name.to_string(), parameter.shape());
        });
        shapes
    }
}

/// Implements [`Model`] for a model of `caldera_models`, whose own methods have the same names.
macro_rules! model {
    ($model:ty) => {
        impl Model for $model {
            fn load(folder: &Path, device: &Device) -> Result<Self> {
                Ok(<$model>::load(folder, device)?)
            }
            fn to_checkpoint(&self) -> Result<Checkpoint> {
                Ok(<$model>::to_checkpoint(self)?)
            }
            fn device(&self) -> Device {
                <$model>::device(self)
            }
        }
    };
}

model!(TextModel);
model!(LanguageModel);

/// What the model in a folder does, by the `model_type` of its config.json.
///
/// # Errors
/// The file cannot be read, or is of a kind of model that is not known here.
pub fn task_of(folder: &Path) -> Result<Task> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("{}: cannot be read", path.display()))?;
    let config: serde_json::Value = serde_json::from_str(&text)
        .with_context(|| format!("{}: not a JSON object", path.display()))?;
    match config["model_type"].as_str() {
        Some("bert" | "roberta") => Ok(Task::Classify),
        Some("gpt_neox" | "mamba" | "mamba2") => Ok(Task::Lm),
        other => bail!(
            "{}, model_type: expected bert, roberta, gpt_neox or mamba, found {}",
            path.display(),
            other.unwrap_or("none")
        ),
    }
}
