//! Settings of `config.json`, whatever the model.

use serde_json::{Map, Value, json};

use crate::ModelError;
use crate::layers::{Activation, dotted};

/// Takes settings out of `config.json`, with errors that name file and key.
pub(crate) struct Settings<'a> {
    /// What has not been taken yet.
    pub map: Map<String, Value>,
    /// Named in messages.
    pub file: &'a str,
    /// The key of the object in `config.json`; empty for the whole.
    section: &'a str,
}

impl<'a> Settings<'a> {
    /// Of an object; `file` is named in messages.
    pub fn new(value: Value, file: &'a str) -> Result<Self, ModelError> {
        match value {
            Value::Object(map) => Ok(Self {
                map,
                file,
                section: "",
            }),
            _ => Err(ModelError::NotJson {
                file: file.to_string(),
                detail: "expected an object of settings".to_string(),
            }),
        }
    }

    /// Of the object `value` that stands under `key`.
    pub fn section(key: &'a str, value: Value, whole: &Self) -> Result<Self, ModelError> {
        match value {
            Value::Object(map) => Ok(Self {
                map,
                file: whole.file,
                section: key,
            }),
            other => Err(whole.error(key, "an object", &other.to_string(), "Correct the value")),
        }
    }

    pub fn error(&self, key: &str, expected: &str, found: &str, advice: &str) -> ModelError {
        ModelError::Config {
            file: self.file.to_string(),
            key: dotted(self.section, key),
            expected: expected.to_string(),
            found: found.to_string(),
            advice: advice.to_string(),
        }
    }

    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|v| !v.is_null())
    }

    pub fn integer(&mut self, key: &str, default: Option<usize>) -> Result<usize, ModelError> {
        const ADVICE: &str = "Use the config.json that was saved with the weights";
        let expected = "a whole number of at least 1";
        match (self.take(key), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.error(key, expected, "nothing", ADVICE)),
            (Some(value), _) => match value.as_u64().and_then(|v| usize::try_from(v).ok()) {
                Some(number) if number >= 1 => Ok(number),
                _ => Err(self.error(key, expected, &value.to_string(), ADVICE)),
            },
        }
    }

    pub fn number(
        &mut self,
        key: &str,
        range: std::ops::Range<f64>,
    ) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self.error(
                key,
                &format!("a number from {} to below {}", range.start, range.end),
                &value.to_string(),
                "Correct the value",
            )),
        }
    }

    /// True or false.
    pub fn flag(&mut self, key: &str) -> Result<Option<bool>, ModelError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(value) => Err(self.error(
                key,
                "true or false",
                &value.to_string(),
                "Correct the value",
            )),
        }
    }

    /// A token id.
    pub fn token(&mut self, key: &str) -> Result<Option<u32>, ModelError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        match value.as_u64().and_then(|v| v.try_into().ok()) {
            Some(token) => Ok(Some(token)),
            None => Err(self.error(key, "a token id", &value.to_string(), "Correct the value")),
        }
    }

    /// The activation of a feed-forward block.
    pub fn activation(&mut self, key: &str) -> Result<Option<Activation>, ModelError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        match value.as_str().and_then(Activation::from_name) {
            Some(activation) => Ok(Some(activation)),
            None => Err(self.error(
                key,
                "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast or relu",
                &value.to_string(),
                "Models with other activations are not supported",
            )),
        }
    }

    /// A list of whole numbers of at least 1.
    pub fn integers(&mut self, key: &str, default: &[usize]) -> Result<Vec<usize>, ModelError> {
        let Some(value) = self.take(key) else {
            return Ok(default.to_vec());
        };
        let number = |v: &Value| {
            let number = v.as_u64().and_then(|v| usize::try_from(v).ok());
            number.filter(|&number| number >= 1)
        };
        let list = value.as_array().filter(|list| !list.is_empty());
        let list: Option<Vec<usize>> = list.and_then(|list| list.iter().map(number).collect());
        list.ok_or_else(|| {
            const EXPECTED: &str = "a list of whole numbers of at least 1";
            self.error(key, EXPECTED, &value.to_string(), "Correct the value")
        })
    }

    /// One of a few words.
    pub fn choice<T: Copy>(
        &mut self,
        key: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, ModelError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        match choices.iter().find(|(name, _)| value == *name) {
            Some((_, choice)) => Ok(Some(*choice)),
            None => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                let names = names.join(" or ");
                Err(self.error(key, &names, &value.to_string(), "Correct the value"))
            }
        }
    }

    /// `id2label` in the order of its ids; where there is none, with `has_classes` as many numbered names as `num_labels`
    /// says, else nothing.
    pub fn labels(&mut self, has_classes: bool) -> Result<Vec<String>, ModelError> {
        let id2label = self.take("id2label");
        self.take("label2id");
        let number = self.integer("num_labels", Some(2))?;
        let Some(value) = id2label else {
            let named = if has_classes { number } else { 0 };
            return Ok((0..named).map(|i| format!("LABEL_{i}")).collect());
        };
        let wrong = || {
            self.error(
                "id2label",
                "an object from \"0\", \"1\", ... to label names",
                &value.to_string(),
                "Number the labels from 0 without gaps",
            )
        };
        let map = value.as_object().ok_or_else(wrong)?;
        (0..map.len())
            .map(|i| {
                map.get(&i.to_string())
                    .and_then(Value::as_str)
                    .map(str::to_string)
                    .ok_or_else(wrong)
            })
            .collect()
    }
}

/// Writes `id2label` and `label2id`; nothing where there are no labels.
pub(crate) fn put_labels(map: &mut Map<String, Value>, labels: &[String]) {
    if labels.is_empty() {
        return;
    }
    let numbered = labels.iter().enumerate();
    let id2label = numbered.clone().map(|(i, l)| (i.to_string(), json!(l)));
    let label2id = numbered.map(|(i, l)| (l.clone(), json!(i)));
    map.insert("id2label".to_string(), Value::Object(id2label.collect()));
    map.insert("label2id".to_string(), Value::Object(label2id.collect()));
}
