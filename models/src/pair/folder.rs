//! Pairs on disk: an export over an old pair leaves the old one or the new one, and nothing of anybody else's is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Pair, PairSide};
use crate::checkpoint::{failed, read_file, write_files};
use crate::{Checkpoint, ModelError, WeightDtype};

impl Pair {
    /// Writes a pair's folder; fills in `files`. All files are written beside their places first, then renamed into them,
    /// `pair.json` last, so that a write that is broken off leaves the old pair. Files that only the old pair had (by its
    /// `pair.json`) are removed then; whatever else lies in the folder stays.
    ///
    /// # Errors
    /// [`ModelError::Io`]; those of [`Checkpoint::to_files`].
    pub fn write(
        &mut self,
        dir: &Path,
        transformer: &Checkpoint,
        linear: &Checkpoint,
        clips: &[(String, Vec<u8>)],
        dtype: WeightDtype,
    ) -> Result<(), ModelError> {
        let files = self.to_files(transformer, linear, clips, dtype)?;
        let old = listed_in(dir);
        let files: Vec<_> = files
            .iter()
            .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
            .collect();
        write_files(dir, &files)?;
        let stale = old.iter().filter(|path| self.listed(path).is_none());
        for path in stale.map(|path| dir.join(path)) {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(failed(&path, "remove what the old pair had", error));
                }
                _ => {}
            }
            // Only a folder that holds nothing any more can be removed.
            let _ = path.parent().map(std::fs::remove_dir);
        }
        Ok(())
    }

    /// Reads a pair's folder: the description, the transformer, the student, every file checked.
    ///
    /// # Errors
    /// [`ModelError::Io`]; those of [`Pair::from_bytes`] and [`Pair::checkpoint`].
    pub fn read(dir: &Path) -> Result<(Self, Checkpoint, Checkpoint), ModelError> {
        let source = dir.display().to_string();
        let pair = Self::from_bytes(&read_file(&dir.join("pair.json"))?, &source)?;
        let mut files = BTreeMap::new();
        for listed in &pair.files {
            files.insert(listed.path.clone(), read_file(&dir.join(&listed.path))?);
        }
        let transformer = pair.checkpoint(PairSide::Transformer, &files, &source)?;
        let linear = pair.checkpoint(PairSide::Linear, &files, &source)?;
        Ok((pair, transformer, linear))
    }
}

/// The files of the pair in a folder, by its `pair.json`; none where there is no pair, or one that cannot be read.
fn listed_in(dir: &Path) -> BTreeSet<String> {
    let json = read_file(&dir.join("pair.json"));
    let pair = json.and_then(|json| Pair::from_bytes(&json, &dir.display().to_string()));
    let files = pair.map(|pair| pair.files).unwrap_or_default();
    files.into_iter().map(|file| file.path).collect()
}
