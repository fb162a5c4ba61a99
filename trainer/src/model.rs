//! What training asks of a model, whatever its family.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use caldera_models::{Checkpoint, LanguageModel, Parameters, SpeechModel, TextModel};

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
model!(SpeechModel);

/// The kinds of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelKind {
    /// BERT and RoBERTa.
    Text,
    /// GPT-NeoX, Mamba and Mamba-2.
    Language,
    /// Wav2Vec2.
    Speech,
}

/// The kind of the model in a folder, by the `model_type` of its config.json.
///
/// # Errors
/// The file cannot be read, or is of a kind of model that is not known here.
pub fn kind_of(folder: &Path) -> Result<ModelKind> {
    kind_in(&folder.join("config.json"))
}

/// The kind of model that a config.json describes.
///
/// # Errors
/// As [`kind_of`].
pub fn kind_in(path: &Path) -> Result<ModelKind> {
    kind_by(&settings_in(path)?, path)
}

fn settings_in(path: &Path) -> Result<serde_json::Value> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{}: cannot be read", path.display()))?;
    // A bare Infinity, as Python writes it into some of these files, is not of interest here.
    serde_json::from_str(&text.replace("Infinity", "1e308"))
        .with_context(|| format!("{}: not a JSON object", path.display()))
}

fn kind_by(settings: &serde_json::Value, path: &Path) -> Result<ModelKind> {
    match settings["model_type"].as_str() {
        Some("bert" | "roberta" | "xlm-roberta" | "camembert") => Ok(ModelKind::Text),
        Some("gpt_neox" | "mamba" | "mamba2") => Ok(ModelKind::Language),
        Some("wav2vec2") => Ok(ModelKind::Speech),
        other => bail!(
            "{}, model_type: expected bert, roberta, gpt_neox, mamba or wav2vec2, found {}",
            path.display(),
            other.unwrap_or("none")
        ),
    }
}

/// The config.json of a model folder, or one that is named itself.
fn config_of(source: &Path) -> PathBuf {
    match source.is_dir() {
        true => source.join("config.json"),
        false => source.into(),
    }
}

/// The kind of a model folder, or of a config.json. None where it cannot be read: that is told later.
pub(crate) fn kind_at(source: &Path) -> Option<ModelKind> {
    kind_in(&config_of(source)).ok()
}

/// Whether a model folder, or a config.json, is of a speech model.
pub(crate) fn is_speech(source: Option<&Path>) -> bool {
    source.and_then(kind_at) == Some(ModelKind::Speech)
}

/// The task that a model folder, or a config.json, is made for, with words on why. None where it cannot be read.
pub(crate) fn task_of(source: &Path) -> Option<(Task, &'static str)> {
    let path = config_of(source);
    let settings = settings_in(&path).ok()?;
    let recognises = || {
        let named = settings["architectures"].as_array();
        named.is_some_and(|names| names.iter().any(|name| name == "Wav2Vec2ForCTC"))
    };
    Some(match kind_by(&settings, &path).ok()? {
        ModelKind::Text => (Task::Classify, "an encoder of texts"),
        ModelKind::Language => (Task::Lm, "a language model"),
        ModelKind::Speech if recognises() => (Task::Ctc, "a Wav2Vec2ForCTC"),
        ModelKind::Speech => (Task::Classify, "a speech model, but no Wav2Vec2ForCTC"),
    })
}
