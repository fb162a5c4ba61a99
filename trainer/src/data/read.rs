//! One reader a format; all of them give [`Record`]s that remember where they stood.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::{Map, Value};

use super::DataError;

/// Names of the fields to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Field of the text; `None` looks for the usual names.
    pub text: Option<String>,
    /// Field of the second text; `None` takes `text_b` or `sentence2` where the first is its partner.
    pub pair: Option<String>,
    /// Field of the label.
    pub label: String,
    /// Whether labels are read at all.
    pub with_label: bool,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            text: None,
            pair: None,
            label: "label".into(),
            with_label: true,
        }
    }
}

/// A label as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawLabel {
    /// Its number.
    Number(i64),
    /// Its name.
    Name(String),
}

/// An example as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The text, or the first of a pair.
    pub text: String,
    /// The second of a pair.
    pub pair: Option<String>,
    /// The label, where there is one.
    pub label: Option<RawLabel>,
    /// The file.
    pub path: Rc<PathBuf>,
    /// Its line there, counted from 1.
    pub line: u64,
}

// First text and its partner, tried in this order.
const USUAL: [(&str, Option<&str>); 4] = [
    ("text", None),
    ("text_a", Some("text_b")),
    ("sentence", None),
    ("sentence1", Some("sentence2")),
];

/// Reads a file by its extension: `.jsonl` (or `.json`, `.ndjson`), `.csv`, `.tsv`, and `.txt` where no labels are needed.
///
/// # Errors
/// Names the file, the line and the field; a file without any example is an error too.
pub fn read_records(
    path: &Path,
    fields: &Fields,
    limit: Option<usize>,
) -> Result<Vec<Record>, DataError> {
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or("")
        .to_ascii_lowercase();
    let limit = limit.unwrap_or(usize::MAX);
    let records = match extension.as_str() {
        "jsonl" | "json" | "ndjson" => read_json_lines(path, fields, limit)?,
        "csv" => read_separated(path, fields, b',', limit)?,
        "tsv" => read_separated(path, fields, b'\t', limit)?,
        "txt" if !fields.with_label => read_plain(path, limit)?,
        _ => return Err(DataError::Extension(path.into())),
    };
    if records.is_empty() {
        return Err(DataError::Empty(path.into()));
    }
    Ok(records)
}

/// Lines of a file as UTF-8, with their numbers; a byte order mark and empty lines are passed over.
pub(super) fn for_each_line(
    path: &Path,
    mut each: impl FnMut(u64, &str) -> Result<bool, DataError>,
) -> Result<(), DataError> {
    let io = |source| DataError::Io {
        path: path.into(),
        source,
    };
    let mut reader = BufReader::new(File::open(path).map_err(io)?);
    let mut bytes = Vec::new();
    let mut number = 0;
    loop {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(io)? == 0 {
            return Ok(());
        }
        number += 1;
        let text = std::str::from_utf8(&bytes).map_err(|error| DataError::Line {
            path: path.into(),
            line: number,
            message: format!(
                "not valid UTF-8 at byte {} of the line",
                error.valid_up_to() + 1
            ),
        })?;
        let text = text
            .trim_start_matches('\u{feff}')
            .trim_end_matches(['\r', '\n']);
        if !text.trim().is_empty() && !each(number, text)? {
            return Ok(());
        }
    }
}

fn read_plain(path: &Path, limit: usize) -> Result<Vec<Record>, DataError> {
    let shared = Rc::new(path.to_path_buf());
    let mut records = Vec::new();
    for_each_line(path, |line, text| {
        if records.len() < limit {
            records.push(Record {
                text: text.trim().into(),
                pair: None,
                label: None,
                path: shared.clone(),
                line,
            });
        }
        Ok(records.len() < limit)
    })?;
    Ok(records)
}

fn read_json_lines(path: &Path, fields: &Fields, limit: usize) -> Result<Vec<Record>, DataError> {
    let shared = Rc::new(path.to_path_buf());
    let mut records = Vec::new();
    for_each_line(path, |line, text| {
        if records.len() >= limit {
            return Ok(false);
        }
        let at_line = |message: String| DataError::Line {
            path: path.into(),
            line,
            message,
        };
        let object: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| at_line(format!("not a JSON object: {error}")))?;
        let (first, second) = choose(
            fields,
            |name| object.contains_key(name),
            || object.keys().cloned().collect(),
        )
        .map_err(at_line)?;
        let string = |name: &str| match object.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(at_line(format!(
                "field {name:?}: expected a text, found {other}"
            ))),
            None => Err(at_line(format!("field {name:?} is missing"))),
        };
        let label = if fields.with_label {
            match object.get(&fields.label) {
                None | Some(Value::Null) => None,
                Some(Value::String(name)) => Some(RawLabel::Name(name.clone())),
                Some(Value::Bool(value)) => Some(RawLabel::Number(i64::from(*value))),
                Some(value) => Some(RawLabel::Number(value.as_i64().ok_or_else(|| {
                    at_line(format!(
                        "field {:?}: expected a whole number or a name, found {value}",
                        fields.label
                    ))
                })?)),
            }
        } else {
            None
        };
        records.push(Record {
            text: string(&first)?,
            pair: second.map(|name| string(&name)).transpose()?,
            label,
            path: shared.clone(),
            line,
        });
        Ok(true)
    })?;
    Ok(records)
}

fn read_separated(
    path: &Path,
    fields: &Fields,
    delimiter: u8,
    limit: usize,
) -> Result<Vec<Record>, DataError> {
    // In TSV files as GLUE has them, a quotation mark is only a character.
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(delimiter == b',')
        .from_path(path)
        .map_err(|error| csv_error(path, error))?;
    let shared = Rc::new(path.to_path_buf());
    let headers: Vec<String> = reader
        .headers()
        .map_err(|error| csv_error(path, error))?
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}').trim().to_string())
        .collect();
    if headers.iter().all(String::is_empty) {
        return Ok(Vec::new());
    }
    let at = |name: &str| headers.iter().position(|header| header == name);
    let (first, second) =
        choose(fields, |name| at(name).is_some(), || headers.clone()).map_err(|message| {
            DataError::Line {
                path: path.into(),
                line: 1,
                message,
            }
        })?;
    let column = |name: &str| {
        at(name).ok_or_else(|| DataError::Line {
            path: path.into(),
            line: 1,
            message: format!("column {name:?} is missing; there are {headers:?}"),
        })
    };
    let first = column(&first)?;
    let second = second.map(|name| column(&name)).transpose()?;
    let label_column = if fields.with_label {
        at(&fields.label)
    } else {
        None
    };
    let mut records = Vec::new();
    for row in reader.into_records().take(limit) {
        let row = row.map_err(|error| csv_error(path, error))?;
        let line = row.position().map_or(0, csv::Position::line);
        let cell = |index: usize| row.get(index).unwrap_or("").to_string();
        let label = label_column
            .map(cell)
            .filter(|text| !text.trim().is_empty())
            .map(|text| {
                text.trim()
                    .parse()
                    .map_or_else(|_| RawLabel::Name(text.trim().into()), RawLabel::Number)
            });
        records.push(Record {
            text: cell(first),
            pair: second.map(cell),
            label,
            path: shared.clone(),
            line,
        });
    }
    Ok(records)
}

fn csv_error(path: &Path, error: csv::Error) -> DataError {
    let line = error.position().map_or(1, csv::Position::line);
    match error.into_kind() {
        csv::ErrorKind::Io(source) => DataError::Io {
            path: path.into(),
            source,
        },
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => DataError::Line {
            path: path.into(),
            line,
            message: format!("expected {expected_len} columns as in the first line, found {len}"),
        },
        csv::ErrorKind::Utf8 { err, .. } => DataError::Line {
            path: path.into(),
            line,
            message: format!("column {} is not valid UTF-8", err.field() + 1),
        },
        other => DataError::Line {
            path: path.into(),
            line,
            message: format!("{other:?}"),
        },
    }
}

/// Names of the first and second text among those that are there.
fn choose(
    fields: &Fields,
    there: impl Fn(&str) -> bool,
    all: impl Fn() -> Vec<String>,
) -> Result<(String, Option<String>), String> {
    if let Some(text) = &fields.text {
        return Ok((text.clone(), fields.pair.clone()));
    }
    for (text, pair) in USUAL {
        if there(text) {
            let pair = fields
                .pair
                .clone()
                .or_else(|| pair.filter(|name| there(name)).map(String::from));
            return Ok((text.into(), pair));
        }
    }
    Err(format!(
        "no text field: expected \"text\", \"text_a\", \"sentence\" or \"sentence1\", found {:?}; name it with data.text_field",
        all()
    ))
}
