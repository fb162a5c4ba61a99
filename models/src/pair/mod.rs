//! A transformer and its linear student side by side: the folder that the page loads.
//!
//! ```text
//! pair.json
//! transformer/{config.json,model.safetensors,tokenizer.json}
//! linear/{config.json,model.safetensors,tokenizer.json}
//! ```
//!
//! Models of speech have `preprocessor_config.json` and `vocab.json` in place of a tokenizer, and the pair's samples name clips.

#[cfg(not(target_family = "wasm"))]
mod folder;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::checkpoint::{Arrived, SIDE_FILES, join, read_safetensors};
use crate::{Checkpoint, ModelError, WeightDtype};

/// `pair.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pair {
    /// Short name, as in `web/pairs/NAME`.
    pub name: String,
    /// What both models do: "text-classification", "language-modeling", "automatic-speech-recognition" or
    /// "audio-classification".
    pub task: String,
    /// A sentence or two for people.
    #[serde(default)]
    pub description: String,
    /// Figures of both models, by name of the metric.
    #[serde(default)]
    pub scores: PairScores,
    /// What the models were trained on.
    pub data: PairData,
    /// Licence of the weights, as an SPDX expression.
    #[serde(default)]
    pub licence: String,
    /// Names of the classes, in the order of the logits.
    #[serde(default)]
    pub labels: Vec<String>,
    /// A few inputs to try.
    #[serde(default)]
    pub samples: Vec<PairSample>,
    /// Every file of the pair but `pair.json`.
    pub files: Vec<PairFile>,
}

/// Figures of both models on held-out data.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PairScores {
    /// The transformer's, such as "accuracy": 0.93.
    #[serde(default)]
    pub teacher: BTreeMap<String, f64>,
    /// The linear student's.
    #[serde(default)]
    pub student: BTreeMap<String, f64>,
}

/// The data behind a pair.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PairData {
    /// Its name.
    pub name: String,
    /// Its licence.
    #[serde(default)]
    pub licence: String,
    /// Where it comes from.
    #[serde(default)]
    pub source: String,
}

/// An input to try.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PairSample {
    /// The text; of a clip, what is said in it.
    pub text: String,
    /// The pair's file that holds the clip, by its path, for tasks on sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audio: Option<String>,
    /// Whose the clip is, and under which licence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<String>,
    /// The second text, for tasks on pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// Its class by the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// A file of a pair, with what it takes to trust it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairFile {
    /// Path below the pair's folder, with `/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// One of the two models.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairSide {
    /// The teacher.
    Transformer,
    /// The student.
    Linear,
}

impl PairSide {
    /// Its folder's name.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Transformer => "transformer",
            Self::Linear => "linear",
        }
    }
}

const AGAIN: &str = "Load or export the pair again";

/// The file of a side that holds its tensors.
pub const WEIGHTS: &str = "model.safetensors";

impl PairFile {
    /// Describes a file's content.
    pub fn describe(path: &str, bytes: &[u8]) -> Self {
        Self {
            path: path.to_string(),
            size: bytes.len() as u64,
            sha256: hexadecimal(&Sha256::digest(bytes)),
        }
    }

    /// Whether `bytes` are what `pair.json` says; `source` is the pair's folder or address, for messages.
    ///
    /// # Errors
    /// [`ModelError::Pair`] with both sizes, or both sums.
    pub fn verify(&self, bytes: &[u8], source: &str) -> Result<(), ModelError> {
        let Self { size, sha256, .. } = Self::describe(&self.path, bytes);
        self.verify_arrived(&Arrived { size, sha256 }, source)
    }

    /// The same of a file that came in pieces.
    ///
    /// # Errors
    /// Those of [`PairFile::verify`].
    pub fn verify_arrived(&self, found: &Arrived, source: &str) -> Result<(), ModelError> {
        let bad = |detail: String| ModelError::Pair {
            file: join(source, &self.path),
            detail,
            advice: AGAIN.to_string(),
        };
        if found.size != self.size {
            return Err(bad(format!(
                "expected {} bytes as pair.json says, found {}",
                self.size, found.size
            )));
        }
        if !found.sha256.eq_ignore_ascii_case(&self.sha256) {
            return Err(bad(format!(
                "expected SHA-256 {}, found {}",
                self.sha256, found.sha256
            )));
        }
        Ok(())
    }
}

/// Bytes in lower-case hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Pair {
    /// Reads `pair.json`; `source` is the pair's folder or address, for messages.
    ///
    /// # Errors
    /// [`ModelError::NotJson`] when a field is missing or of the wrong kind; [`ModelError::Pair`] when a path
    /// leads out of the folder, or a sample's clip is not among the files.
    pub fn from_bytes(bytes: &[u8], source: &str) -> Result<Self, ModelError> {
        let file = join(source, "pair.json");
        let pair: Self = serde_json::from_slice(bytes).map_err(|e| ModelError::NotJson {
            file: file.clone(),
            detail: e.to_string(),
        })?;
        let bad = |detail: String| ModelError::Pair {
            file: file.clone(),
            detail,
            advice: AGAIN.to_string(),
        };
        let outside = |path: &str| {
            path.contains('\\')
                || path.contains(':')
                || path.split('/').any(|p| matches!(p, "" | "." | ".."))
        };
        if let Some(listed) = pair.files.iter().find(|listed| outside(&listed.path)) {
            return Err(bad(format!(
                "expected paths below the pair's folder, found `{}`",
                listed.path
            )));
        }
        let mut clips = pair.samples.iter().filter_map(|s| s.audio.as_deref());
        if let Some(lost) = clips.find(|path| pair.listed(path).is_none()) {
            return Err(bad(format!(
                "expected the clip `{lost}` of a sample among `files`, found none"
            )));
        }
        Ok(pair)
    }

    /// The entry of the file at `path`, None where the pair has none.
    pub fn listed(&self, path: &str) -> Option<&PairFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The entry of a side's file, None where the pair has none.
    pub fn file(&self, side: PairSide, name: &str) -> Option<&PairFile> {
        self.listed(&join(side.folder(), name))
    }

    /// One model out of the pair's files (by path, as in `pair.json`), each checked against size and sum.
    ///
    /// # Errors
    /// [`ModelError::Pair`] for a file that is missing or altered; those of [`Checkpoint::from_bytes`].
    pub fn checkpoint(
        &self,
        side: PairSide,
        files: &BTreeMap<String, Vec<u8>>,
        source: &str,
    ) -> Result<Checkpoint, ModelError> {
        let mut checkpoint = self.without_weights(side, files, source)?;
        let weights = self.needed(side, WEIGHTS, files, source)?;
        checkpoint.tensors = read_safetensors(weights, &checkpoint.weights_file())?;
        Ok(checkpoint)
    }

    /// The same without the tensors, which come by a [`WeightStream`](crate::checkpoint::WeightStream).
    ///
    /// # Errors
    /// Those of [`Pair::checkpoint`].
    pub fn without_weights(
        &self,
        side: PairSide,
        files: &BTreeMap<String, Vec<u8>>,
        source: &str,
    ) -> Result<Checkpoint, ModelError> {
        let find = |name: &str| self.found(side, name, files, source);
        let mut checkpoint = Checkpoint::without_weights(
            self.needed(side, "config.json", files, source)?,
            find("tokenizer.json")?.cloned(),
            &join(source, side.folder()),
        )?;
        for name in SIDE_FILES {
            if let Some(bytes) = find(name)? {
                checkpoint.files.insert(name.to_string(), bytes.clone());
            }
        }
        Ok(checkpoint)
    }

    /// A side's file among `files`, checked; None where the pair has none.
    fn found<'a>(
        &self,
        side: PairSide,
        name: &str,
        files: &'a BTreeMap<String, Vec<u8>>,
        source: &str,
    ) -> Result<Option<&'a Vec<u8>>, ModelError> {
        let Some(listed) = self.file(side, name) else {
            return Ok(None);
        };
        let bytes = files.get(&listed.path);
        let bytes = bytes.ok_or_else(|| missing(source, &listed.path))?;
        listed.verify(bytes, source)?;
        Ok(Some(bytes))
    }

    fn needed<'a>(
        &self,
        side: PairSide,
        name: &str,
        files: &'a BTreeMap<String, Vec<u8>>,
        source: &str,
    ) -> Result<&'a Vec<u8>, ModelError> {
        let found = self.found(side, name, files, source)?;
        found.ok_or_else(|| missing(source, &join(side.folder(), name)))
    }

    /// Fills in `files` for two models and the clips of the samples (path and content), and gives every file of the pair in
    /// the same form, `pair.json` last.
    ///
    /// # Errors
    /// Those of [`Checkpoint::to_files`].
    pub fn to_files(
        &mut self,
        transformer: &Checkpoint,
        linear: &Checkpoint,
        clips: &[(String, Vec<u8>)],
        dtype: WeightDtype,
    ) -> Result<Vec<(String, Vec<u8>)>, ModelError> {
        let mut files = clips.to_vec();
        for (side, checkpoint) in [
            (PairSide::Transformer, transformer),
            (PairSide::Linear, linear),
        ] {
            for (name, bytes) in checkpoint.to_files(dtype)? {
                files.push((join(side.folder(), &name), bytes));
            }
        }
        self.files = files
            .iter()
            .map(|(path, bytes)| PairFile::describe(path, bytes))
            .collect();
        let mut json = serde_json::to_vec_pretty(self).map_err(|e| ModelError::NotJson {
            file: "pair.json".to_string(),
            detail: e.to_string(),
        })?;
        json.push(b'\n');
        files.push(("pair.json".to_string(), json));
        Ok(files)
    }
}

fn missing(source: &str, path: &str) -> ModelError {
    ModelError::Pair {
        file: join(source, path),
        detail: "expected it in the pair, found none".to_string(),
        advice: AGAIN.to_string(),
    }
}
