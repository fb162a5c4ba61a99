//! Checkpoints on disk: reading folders, writing them without ever leaving half a file.

use std::{collections::BTreeMap, collections::BTreeSet, io::Write, path::Path};

use serde_json::Value;

use super::{Checkpoint, SIDE_FILES, StoredTensor, WeightDtype, parse_config, read_safetensors};
use crate::ModelError;

impl Checkpoint {
    /// Reads a Hugging Face folder: `config.json`, `model.safetensors` (or the shards that
    /// `model.safetensors.index.json` names), and `tokenizer.json` where there is one.
    ///
    /// # Errors
    /// Those of [`Checkpoint::from_bytes`], and [`ModelError::Io`].
    pub fn read(dir: &Path) -> Result<Self, ModelError> {
        if !dir.is_dir() {
            return Err(ModelError::Io {
                file: dir.display().to_string(),
                action: "open the model folder",
                source: std::io::Error::from(std::io::ErrorKind::NotFound),
                advice: "Give a folder that holds config.json and model.safetensors".to_string(),
            });
        }
        let path = dir.join("config.json");
        let config = parse_config(&read_file(&path)?, &path.display().to_string())?;
        let index = dir.join("model.safetensors.index.json");
        let tensors = if !dir.join("model.safetensors").exists() && index.exists() {
            read_shards(dir, &index)?
        } else {
            let path = dir.join("model.safetensors");
            read_safetensors(&read_file(&path)?, &path.display().to_string())?
        };
        let path = dir.join("tokenizer.json");
        let tokenizer = if path.exists() {
            Some(read_file(&path)?)
        } else {
            None
        };
        let mut files = BTreeMap::new();
        for name in SIDE_FILES {
            let path = dir.join(name);
            if path.exists() {
                files.insert(name.to_string(), read_file(&path)?);
            }
        }
        Ok(Self {
            config,
            tensors,
            tokenizer,
            files,
            source: dir.display().to_string(),
        })
    }

    /// Writes the folder: all files are written beside their places first, then renamed into them, so that
    /// an interrupted write leaves the old ones as they were. Other files of the folder stay.
    ///
    /// # Errors
    /// [`ModelError::Io`]; [`ModelError::BadTensor`] when a value is too large for f16.
    pub fn write(&self, dir: &Path, dtype: WeightDtype) -> Result<(), ModelError> {
        let files = self.to_files(dtype)?;
        let files: Vec<_> = files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        write_files(dir, &files)?;
        // A folder that was sharded before would otherwise keep an index that names other files.
        let index = dir.join("model.safetensors.index.json");
        if index.exists() {
            std::fs::remove_file(&index).map_err(|e| failed(&index, "remove the old index", e))?;
        }
        Ok(())
    }
}

/// The tensors of every shard that the index names, and none that it does not.
fn read_shards(dir: &Path, index: &Path) -> Result<BTreeMap<String, StoredTensor>, ModelError> {
    let file = index.display().to_string();
    let parsed = parse_config(&read_file(index)?, &file)?;
    let damaged = |detail: &str| ModelError::Damaged {
        file: file.clone(),
        detail: detail.to_string(),
    };
    let map = parsed.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| damaged("expected an object `weight_map`, found none"))?;
    let names: Option<BTreeSet<&str>> = map.values().map(Value::as_str).collect();
    let names =
        names.ok_or_else(|| damaged("`weight_map` must give a file name for every tensor"))?;
    let mut tensors = BTreeMap::new();
    for name in names {
        // The index comes from outside: it may name files beside it, nothing else.
        if Path::new(name).file_name().and_then(|n| n.to_str()) != Some(name) {
            return Err(damaged(&format!(
                "`weight_map` names `{name}`, which is no plain file name"
            )));
        }
        let path = dir.join(name);
        tensors.extend(read_safetensors(
            &read_file(&path)?,
            &path.display().to_string(),
        )?);
    }
    if let Some((tensor, shard)) = map.iter().find(|(name, _)| !tensors.contains_key(*name)) {
        return Err(ModelError::BadTensor {
            file,
            tensor: tensor.clone(),
            detail: format!("expected it in {shard}, found none"),
            advice: "Download all shards of one version".to_string(),
        });
    }
    Ok(tensors)
}

/// A whole file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|source| ModelError::Io {
        file: path.display().to_string(),
        action: "read",
        source,
        advice: "Check that the folder is complete and readable".to_string(),
    })
}

pub(crate) fn failed(path: &Path, action: &'static str, source: std::io::Error) -> ModelError {
    ModelError::Io {
        file: path.display().to_string(),
        action,
        source,
        advice: "Check the free space and the folder's permissions".to_string(),
    }
}

/// Writes files of `dir`, by their paths below it (folders are made if need be): all beside their places, then all renamed, in
/// their order.
pub(crate) fn write_files(dir: &Path, files: &[(&str, &[u8])]) -> Result<(), ModelError> {
    let mut written = Vec::with_capacity(files.len());
    for (name, bytes) in files {
        let path = dir.join(name);
        let dir = path.parent().unwrap_or(dir);
        std::fs::create_dir_all(dir).map_err(|e| failed(dir, "create the folder", e))?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".writing-");
        // Temporary files are private by default; what replaces a model should be readable as usual.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder
            .tempfile_in(dir)
            .map_err(|e| failed(&path, "write", e))?;
        file.write_all(bytes)
            .map_err(|e| failed(&path, "write", e))?;
        file.as_file()
            .sync_data()
            .map_err(|e| failed(&path, "write", e))?;
        written.push((file, path));
    }
    for (file, path) in written {
        file.persist(&path)
            .map_err(|e| failed(&path, "write", e.error))?;
    }
    Ok(())
}
