//! Hugging Face folders: `config.json`, `model.safetensors` (or shards with an index), `tokenizer.json`.
//!
//! [`Checkpoint`] is the folder in memory: nothing is interpreted beyond the safetensors container, so
//! that what is read is what is written.

mod device;
mod dtype;
#[cfg(not(target_family = "wasm"))]
mod folder;
mod format;
mod header;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use device::DeviceTensors;
pub use dtype::{StoredDtype, WeightDtype};
#[cfg(not(target_family = "wasm"))]
pub(crate) use folder::{failed, read_file, write_files};
pub use format::read_safetensors;
pub(crate) use format::write_safetensors;
pub use stream::{Arrived, WeightStream};

use crate::ModelError;

/// Files beside the weights that say what goes into a model and what its classes mean; speech models have them.
pub const SIDE_FILES: [&str; 4] = [
    "preprocessor_config.json",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "vocab.json",
];

/// One tensor as it lies in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTensor {
    /// Element type of `bytes`.
    pub dtype: StoredDtype,
    /// Shape, outermost first.
    pub shape: Vec<usize>,
    /// Little-endian elements, row by row: `dtype.size() * shape.product()` bytes.
    pub bytes: Vec<u8>,
}

impl StoredTensor {
    /// A tensor of f32 values.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self {
            dtype: StoredDtype::F32,
            shape,
            bytes,
        }
    }

    /// The values as f32; None when the elements are no floats.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        dtype::to_f32(self.dtype, &self.bytes)
    }
}

/// A Hugging Face folder in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// `config.json`.
    pub config: serde_json::Value,
    /// Every stored tensor by name.
    pub tensors: BTreeMap<String, StoredTensor>,
    /// The bytes of `tokenizer.json`, if there is one.
    pub tokenizer: Option<Vec<u8>>,
    /// Other small files of the folder by name ([`SIDE_FILES`]), carried along as they are.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Where it came from, for messages: a folder or an address.
    pub source: String,
}

impl Checkpoint {
    /// Takes a folder's files apart.
    ///
    /// `config`, `weights` and `tokenizer` are the bytes of `config.json`, `model.safetensors` and
    /// `tokenizer.json`; `source` is named in messages.
    ///
    /// # Errors
    /// [`ModelError::NotJson`], [`ModelError::Damaged`] or [`ModelError::BadTensor`] with the file named.
    pub fn from_bytes(
        config: &[u8],
        weights: &[u8],
        tokenizer: Option<Vec<u8>>,
        source: &str,
    ) -> Result<Self, ModelError> {
        let tensors = read_safetensors(weights, &join(source, "model.safetensors"))?;
        Ok(Self {
            tensors,
            ..Self::without_weights(config, tokenizer, source)?
        })
    }

    /// The same without tensors: they come by a [`WeightStream`].
    ///
    /// # Errors
    /// [`ModelError::NotJson`] with the file named.
    pub fn without_weights(
        config: &[u8],
        tokenizer: Option<Vec<u8>>,
        source: &str,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            config: parse_config(config, &join(source, "config.json"))?,
            tensors: BTreeMap::new(),
            tokenizer,
            files: BTreeMap::new(),
            source: source.to_string(),
        })
    }

    /// All files as bytes: name in the folder, content. Floats are stored as `dtype`, integers as they are.
    ///
    /// # Errors
    /// [`ModelError::BadTensor`] when a value is too large for f16.
    pub fn to_files(&self, dtype: WeightDtype) -> Result<Vec<(String, Vec<u8>)>, ModelError> {
        let weights = write_safetensors(&self.tensors, dtype, &self.weights_file())?;
        let mut files = vec![("model.safetensors".to_string(), weights)];
        if let Some(tokenizer) = &self.tokenizer {
            files.push(("tokenizer.json".to_string(), tokenizer.clone()));
        }
        let side = self.files.iter();
        files.extend(side.map(|(name, bytes)| (name.clone(), bytes.clone())));
        files.push(("config.json".to_string(), config_bytes(&self.config, dtype)));
        Ok(files)
    }

    /// The name of the weights file, for messages.
    pub(crate) fn weights_file(&self) -> String {
        join(&self.source, "model.safetensors")
    }

    /// The name of the configuration file, for messages.
    pub(crate) fn config_file(&self) -> String {
        join(&self.source, "config.json")
    }
}

/// `source/name`, or `name` alone without a source.
pub(crate) fn join(source: &str, name: &str) -> String {
    if source.is_empty() {
        name.to_string()
    } else {
        format!("{}/{name}", source.trim_end_matches('/'))
    }
}

/// Parses `config.json`; a bare `Infinity` as Python writes it (in some state space models) becomes 1e308.
pub(crate) fn parse_config(bytes: &[u8], file: &str) -> Result<serde_json::Value, ModelError> {
    let failed = |detail: String| ModelError::NotJson {
        file: file.to_string(),
        detail,
    };
    let text = std::str::from_utf8(bytes).map_err(|e| failed(e.to_string()))?;
    let value: serde_json::Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(first) => {
            serde_json::from_str(&without_infinity(text)).map_err(|_| failed(first.to_string()))?
        }
    };
    if !value.is_object() {
        return Err(failed("expected an object of settings".to_string()));
    }
    Ok(value)
}

/// Replaces `Infinity` outside of strings: it is not JSON, but Python's json module writes it.
fn without_infinity(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if !in_string && let Some(after) = rest.strip_prefix("Infinity") {
            out.push_str("1e308");
            rest = after;
            continue;
        }
        in_string ^= c == '"' && !escaped;
        escaped = in_string && c == '\\' && !escaped;
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// `config.json` with the element type of the weights noted under the key that the file already uses.
fn config_bytes(config: &serde_json::Value, dtype: WeightDtype) -> Vec<u8> {
    let mut config = config.clone();
    if let Some(settings) = config.as_object_mut() {
        let key = if settings.contains_key("dtype") {
            "dtype"
        } else {
            "torch_dtype"
        };
        settings.insert(key.to_string(), dtype.torch_name().into());
        settings.sort_keys();
    }
    // A value that came from JSON or from our own settings always prints.
    let mut text = serde_json::to_string_pretty(&config).expect("JSON values print");
    text.push('\n');
    text.into_bytes()
}
