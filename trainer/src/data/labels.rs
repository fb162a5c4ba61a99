//! Labels: names in the order of their numbers.

use super::{DataError, RawLabel, Record};

/// The labels of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSet {
    names: Vec<String>,
}

impl LabelSet {
    /// Labels in the order of their numbers.
    ///
    /// # Errors
    /// Fewer than two, or a name twice.
    pub fn new(names: Vec<String>) -> Result<Self, DataError> {
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(DataError::Labels(format!(
                    "label {name:?} is listed twice in {names:?}"
                )));
            }
        }
        if names.len() < 2 {
            return Err(DataError::Labels(format!(
                "expected at least two labels, found {names:?}; list them all in data.labels"
            )));
        }
        Ok(Self { names })
    }

    /// From data: names in sorted order, or as many numbers as the highest needs.
    ///
    /// # Errors
    /// No labels at all, numbers mixed with names, a negative number.
    pub fn discover(records: &[Record]) -> Result<Self, DataError> {
        let mut names: Vec<&str> = Vec::new();
        let mut highest: Option<i64> = None;
        for record in records {
            match &record.label {
                Some(RawLabel::Number(number)) if (0..1000).contains(number) => {
                    highest = highest.max(Some(*number));
                }
                Some(RawLabel::Number(number)) => {
                    return Err(DataError::Line {
                        path: record.path.as_ref().clone(),
                        line: record.line,
                        message: format!("label {number}: expected a number from 0 to 999"),
                    });
                }
                Some(RawLabel::Name(name)) => names.push(name),
                None => {}
            }
            if let (Some(number), Some(name)) = (highest, names.last()) {
                return Err(DataError::Line {
                    path: record.path.as_ref().clone(),
                    line: record.line,
                    message: format!(
                        "labels are numbers (as {number}) and names (as {name:?}); use one kind, or list the names in data.labels"
                    ),
                });
            }
        }
        if let Some(highest) = highest {
            return Self::new(
                (0..=highest.max(1))
                    .map(|number| format!("LABEL_{number}"))
                    .collect(),
            );
        }
        if names.is_empty() {
            let place = records.first().map(|r| format!("{}: ", r.path.display()));
            return Err(DataError::Labels(format!(
                "{}no example has a label. Name their field with --label-field (data.label_field), or list all labels in \
                 data.labels; what is said in clips needs none, but --task ctc",
                place.unwrap_or_default()
            )));
        }
        names.sort_unstable();
        names.dedup();
        Self::new(names.into_iter().map(String::from).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never: there are at least two.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Names in the order of their numbers.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Number of a label as it stands in a file.
    pub(super) fn number(&self, raw: &RawLabel) -> Result<usize, String> {
        // A number may be somebody's name for a label ("1" to "5" stars), so names come first.
        let as_name = match raw {
            RawLabel::Name(name) => self.names.iter().position(|known| known == name),
            RawLabel::Number(number) => {
                let text = number.to_string();
                self.names.iter().position(|known| *known == text)
            }
        };
        match (as_name, raw) {
            (Some(index), _) => Ok(index),
            (None, RawLabel::Number(number)) => usize::try_from(*number)
                .ok()
                .filter(|number| *number < self.names.len())
                .ok_or_else(|| {
                    format!(
                        "label {number} is out of range: there are {} labels, 0 to {}",
                        self.names.len(),
                        self.names.len() - 1
                    )
                }),
            (None, RawLabel::Name(name)) => Err(format!(
                "label {name:?} is unknown; known are {:?}",
                self.names
            )),
        }
    }
}
