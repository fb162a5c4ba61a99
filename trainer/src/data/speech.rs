//! Speech manifests: JSON Lines that name sound files, with what is said in them or a label.
//!
//! ```text
//! {"audio": "wav/a.flac", "text": "three"}
//! {"audio": ["wav/a.wav", "wav/b.wav"], "gap": 0.1, "text": "three one"}
//! ```
//!
//! Files are relative to the manifest. Several are one utterance, with `gap` seconds of silence between them (none
//! where it is not given).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::{Map, Value};

use super::audio::read_clip;
use super::read::for_each_line;
use super::{DataError, Fields, RawLabel, Record};

/// A line of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Utterance {
    /// Its sound files, one after the other; at least one.
    pub audio: Vec<PathBuf>,
    /// Seconds of silence between them.
    pub gap: f64,
    /// What is said.
    pub text: Option<String>,
    /// What it is.
    pub label: Option<RawLabel>,
    /// Who says it.
    pub speaker: Option<String>,
    /// The manifest.
    pub path: Rc<PathBuf>,
    /// Its line there, counted from 1.
    pub line: u64,
}

impl Utterance {
    /// Something that is wrong with it.
    pub fn error(&self, message: String) -> DataError {
        DataError::Line {
            path: self.path.as_ref().clone(),
            line: self.line,
            message,
        }
    }

    /// Text and label without the sound.
    pub fn record(&self) -> Record {
        Record {
            text: self.text.clone().unwrap_or_default(),
            pair: None,
            label: self.label.clone(),
            path: self.path.clone(),
            line: self.line,
        }
    }
}

/// The sound of an utterance. Its files are held once, however many utterances they are part of.
#[derive(Clone, Debug)]
pub struct Recording {
    pieces: Vec<Arc<[f32]>>,
    gap: usize,
}

impl Recording {
    /// Of one clip.
    pub fn of(samples: Vec<f32>) -> Self {
        Self {
            pieces: vec![samples.into()],
            gap: 0,
        }
    }

    /// Samples, those of the gaps included.
    pub fn len(&self) -> usize {
        let spoken: usize = self.pieces.iter().map(|piece| piece.len()).sum();
        spoken + self.gap * self.pieces.len().saturating_sub(1)
    }

    /// Without any sound.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All samples, one after the other, with zeros in the gaps.
    pub fn samples(&self) -> Vec<f32> {
        let mut samples = Vec::with_capacity(self.len());
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                samples.resize(samples.len() + self.gap, 0.0);
            }
            samples.extend_from_slice(piece);
        }
        samples
    }
}

/// The lines of several manifests, the first `limit` of them. Sound files are not opened.
///
/// # Errors
/// Names the manifest, the line and the field; a manifest without any line is an error too.
pub fn read_manifests(
    paths: &[PathBuf],
    fields: &Fields,
    limit: Option<usize>,
) -> Result<Vec<Utterance>, DataError> {
    let limit = limit.unwrap_or(usize::MAX);
    let mut utterances = Vec::new();
    for path in paths {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        if !matches!(extension, "jsonl" | "json" | "ndjson") {
            return Err(DataError::Manifest(path.clone()));
        }
        let (shared, before) = (Rc::new(path.clone()), utterances.len());
        for_each_line(path, |line, text| {
            if utterances.len() < limit {
                let error = |message: String| DataError::Line {
                    path: path.clone(),
                    line,
                    message,
                };
                utterances.push(utterance(text, &shared, line, fields).map_err(error)?);
            }
            Ok(utterances.len() < limit)
        })?;
        if utterances.len() == before && before < limit {
            return Err(DataError::Empty(path.clone()));
        }
    }
    Ok(utterances)
}

fn utterance(
    text: &str,
    path: &Rc<PathBuf>,
    line: u64,
    fields: &Fields,
) -> Result<Utterance, String> {
    let object: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let one = |value: &Value| {
        value
            .as_str()
            .filter(|name| !name.is_empty())
            .map(|name| folder.join(name))
    };
    let audio = match object.get("audio") {
        Some(Value::Array(names)) => names.iter().map(one).collect::<Option<Vec<_>>>(),
        Some(value) => one(value).map(|file| vec![file]),
        None => return Err("field \"audio\" is missing".into()),
    };
    let audio = audio.filter(|files| !files.is_empty()).ok_or_else(|| {
        format!(
            "field \"audio\": expected the name of a sound file or a list of names, found {}",
            object["audio"]
        )
    })?;
    let gap = match object.get("gap") {
        None | Some(Value::Null) => 0.0,
        Some(value) => value
            .as_f64()
            .filter(|gap| (0.0..=60.0).contains(gap))
            .ok_or_else(|| format!("field \"gap\": expected 0 to 60 seconds, found {value}"))?,
    };
    let string = |name: &str| match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim().to_string())),
        Some(other) => Err(format!("field {name:?}: expected a text, found {other}")),
    };
    let label = match object.get(&fields.label).filter(|_| fields.with_label) {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(RawLabel::Name(name.clone())),
        Some(value) => Some(RawLabel::Number(value.as_i64().ok_or_else(|| {
            format!(
                "field {:?}: expected a whole number or a name, found {value}",
                fields.label
            )
        })?)),
    };
    Ok(Utterance {
        audio,
        gap,
        text: string(fields.text.as_deref().unwrap_or("text"))?,
        label,
        speaker: string("speaker")?,
        path: path.clone(),
        line,
    })
}

/// The sound of utterances, in their order, at `sampling_rate`. Every file is decoded once.
///
/// # Errors
/// The first file that cannot be used, with the line that names it; an utterance longer than `max_seconds`.
pub fn read_recordings(
    utterances: &[Utterance],
    sampling_rate: u32,
    max_seconds: f64,
) -> Result<Vec<Recording>, DataError> {
    let files: BTreeSet<&PathBuf> = utterances.iter().flat_map(|u| &u.audio).collect();
    let files: Vec<&PathBuf> = files.into_iter().collect();
    let decoded: Vec<Result<Arc<[f32]>, DataError>> = files
        .par_iter()
        .map(|file| Ok(read_clip(file, sampling_rate, max_seconds)?.samples.into()))
        .collect();
    let clips: BTreeMap<&PathBuf, Result<Arc<[f32]>, DataError>> =
        files.into_iter().zip(decoded).collect();
    let whole = |utterance: &Utterance| {
        let piece = |file: &PathBuf| match &clips[file] {
            Ok(samples) => Ok(samples.clone()),
            Err(error) => Err(utterance.error(error.to_string())),
        };
        let recording = Recording {
            pieces: utterance
                .audio
                .iter()
                .map(piece)
                .collect::<Result<_, _>>()?,
            gap: (utterance.gap * f64::from(sampling_rate)).round() as usize,
        };
        let seconds = recording.len() as f64 / f64::from(sampling_rate);
        match seconds > max_seconds {
            true => Err(utterance.error(format!(
                "expected at most {max_seconds} s of audio in all, found {seconds:.1} s. Join fewer files, or raise \
                 data.max_seconds"
            ))),
            false => Ok(recording),
        }
    };
    utterances.iter().map(whole).collect()
}
