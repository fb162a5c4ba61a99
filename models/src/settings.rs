//! Settings of `config.json`, whatever the model.

use serde_json::{Map, Value};

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
}
