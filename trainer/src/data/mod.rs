//! Examples from files: JSON Lines, CSV, TSV, plain text, and manifests of sound files, with errors that name file, line and
//! field.

pub mod audio;
mod joined;
mod labels;
mod new_tokenizer;
mod read;
mod running_text;
mod speech;

pub use joined::{Joining, join};
pub use labels::LabelSet;
pub use new_tokenizer::{END_OF_TEXT, NewTokenizer};
pub use read::{Fields, RawLabel, Record, read_records};
pub use running_text::read_documents;
pub use speech::{Recording, Utterance, read_manifests, read_recordings};

use std::path::PathBuf;

use crate::config::DataConfig;

/// One text, or a pair of texts, with the number of its label where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The text, or the first of a pair.
    pub text: String,
    /// The second text of a pair.
    pub pair: Option<String>,
    /// Number of the label.
    pub label: Option<usize>,
}

/// What is wrong with a data file.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file could not be opened or read.
    #[error("{}: cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The extension is none of those that can be read.
    #[error("{}: unknown kind of data file; expected .jsonl, .csv, .tsv or (without labels, as language models take it) .txt", .0.display())]
    Extension(PathBuf),
    /// Speech is described by JSON Lines alone.
    #[error("{}: expected a speech manifest (.jsonl with the fields audio and text or label)", .0.display())]
    Manifest(PathBuf),
    /// Nothing in it.
    #[error("{}: no examples in the file", .0.display())]
    Empty(PathBuf),
    /// A line that is not what it should be.
    #[error("{}, line {line}: {message}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong, and with which field.
        message: String,
    },
    /// A sound file that cannot be used.
    #[error("{}: {message}", path.display())]
    Audio {
        /// The file.
        path: PathBuf,
        /// What was expected, what was found, what to do.
        message: String,
    },
    /// The labels as a whole do not fit.
    #[error("{0}")]
    Labels(String),
}

/// Records of several files, one after the other, the first `limit` of them.
pub fn read_files(
    paths: &[PathBuf],
    fields: &Fields,
    limit: Option<usize>,
) -> Result<Vec<Record>, DataError> {
    let mut records = Vec::new();
    for path in paths {
        let room = limit.map(|limit| limit - records.len());
        if room == Some(0) {
            break;
        }
        records.extend(read_records(path, fields, room)?);
    }
    Ok(records)
}

impl Fields {
    /// The fields that a configuration names.
    pub fn from_config(config: &DataConfig) -> Self {
        Self {
            text: config.text_field.clone(),
            pair: config.pair_field.clone(),
            label: config.label_field.clone(),
            with_label: true,
        }
    }

    /// The same, with labels passed over.
    pub fn unlabelled(mut self) -> Self {
        self.with_label = false;
        self
    }
}

/// Gives every record the number of its label.
///
/// # Errors
/// A label that `labels` does not know, or (`required`) a record without one.
pub fn with_labels(
    records: Vec<Record>,
    labels: &LabelSet,
    required: bool,
) -> Result<Vec<Example>, DataError> {
    records
        .into_iter()
        .map(|record| {
            let at_line = |message: String| DataError::Line {
                path: record.path.as_ref().clone(),
                line: record.line,
                message,
            };
            let label = match &record.label {
                Some(raw) => Some(labels.number(raw).map_err(&at_line)?),
                None if required => return Err(at_line("no label; it is needed here".into())),
                None => None,
            };
            Ok(Example {
                text: record.text,
                pair: record.pair,
                label,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
