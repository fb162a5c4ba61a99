//! `config.json` into a [`TextConfig`] and back.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::config::{Architecture, Family, LinformerConfig, Mixer, Sharing, TextConfig};
use crate::ModelError;
use crate::layers::Activation;
use crate::settings::{Settings, put_labels};

impl TextConfig {
    /// Interprets `config.json`; `file` is named in messages.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the key, what is allowed and what stands there.
    pub fn from_value(value: Value, file: &str) -> Result<Self, ModelError> {
        let mut r = Settings::new(value, file)?;
        let family = match r.take("model_type").as_ref().and_then(Value::as_str) {
            Some("bert") => Family::Bert,
            Some("roberta" | "xlm-roberta" | "camembert") => Family::Roberta,
            found => {
                return Err(r.error(
                    "model_type",
                    "bert or roberta",
                    found.unwrap_or("nothing"),
                    "Give a BERT or RoBERTa checkpoint; other text encoders are not supported",
                ));
            }
        };
        let architectures = r.take("architectures");
        let named = |part: &str| {
            let list = architectures.as_ref().and_then(Value::as_array);
            list.is_some_and(|l| {
                l.iter()
                    .filter_map(Value::as_str)
                    .any(|a| a.ends_with(part))
            })
        };
        let architecture = if named("ForSequenceClassification") {
            Architecture::SequenceClassification
        } else {
            Architecture::Bare
        };
        if let Some(kind) = r.take("position_embedding_type") {
            if kind != "absolute" {
                let found = kind.to_string();
                return Err(r.error(
                    "position_embedding_type",
                    "\"absolute\"",
                    &found,
                    "Relative positions are not supported",
                ));
            }
            r.map.insert("position_embedding_type".to_string(), kind);
        }
        let hidden_act = r.activation("hidden_act")?.unwrap_or(Activation::Gelu);
        let hidden_size = r.integer("hidden_size", Some(768))?;
        let num_attention_heads = r.integer("num_attention_heads", Some(12))?;
        if !hidden_size.is_multiple_of(num_attention_heads) {
            return Err(r.error(
                "num_attention_heads",
                &format!("a divisor of hidden_size {hidden_size}"),
                &num_attention_heads.to_string(),
                "Use the config.json that was saved with the weights",
            ));
        }
        let padding = (family == Family::Roberta) as u32;
        let pad_token_id = r.token("pad_token_id")?.unwrap_or(padding);
        let labels = r.labels(architecture == Architecture::SequenceClassification)?;
        let (mixer, caldera) = mixer(&mut r)?;
        Ok(Self {
            family,
            architecture,
            vocab_size: r.integer("vocab_size", None)?,
            hidden_size,
            num_hidden_layers: r.integer("num_hidden_layers", Some(12))?,
            num_attention_heads,
            intermediate_size: r.integer("intermediate_size", Some(3072))?,
            hidden_act,
            hidden_dropout_prob: r.number("hidden_dropout_prob", 0.0..1.0)?.unwrap_or(0.1),
            classifier_dropout: r.number("classifier_dropout", 0.0..1.0)?,
            max_position_embeddings: r.integer("max_position_embeddings", Some(512))?,
            type_vocab_size: r.integer("type_vocab_size", Some(2))?,
            initializer_range: r.number("initializer_range", 0.0..10.0)?.unwrap_or(0.02),
            layer_norm_eps: r.number("layer_norm_eps", 0.0..1.0)?.unwrap_or(1e-12),
            pad_token_id,
            labels,
            mixer,
            caldera,
            other: r.map,
        })
    }

    /// `config.json`, keys sorted as transformers does.
    pub fn to_value(&self) -> Value {
        let mut map = self.other.clone();
        let mut put = |key: &str, value: Value| map.insert(key.to_string(), value);
        let suffix = match self.architecture {
            Architecture::Bare => "Model",
            Architecture::SequenceClassification => "ForSequenceClassification",
        };
        let class = match self.family {
            Family::Bert => "Bert",
            Family::Roberta => "Roberta",
        };
        put("architectures", json!([format!("{class}{suffix}")]));
        put("model_type", json!(self.family.model_type()));
        put("vocab_size", json!(self.vocab_size));
        put("hidden_size", json!(self.hidden_size));
        put("num_hidden_layers", json!(self.num_hidden_layers));
        put("num_attention_heads", json!(self.num_attention_heads));
        put("intermediate_size", json!(self.intermediate_size));
        put("hidden_act", json!(self.hidden_act.name()));
        put("hidden_dropout_prob", json!(self.hidden_dropout_prob));
        put("classifier_dropout", json!(self.classifier_dropout));
        put(
            "max_position_embeddings",
            json!(self.max_position_embeddings),
        );
        put("type_vocab_size", json!(self.type_vocab_size));
        put("initializer_range", json!(self.initializer_range));
        put("layer_norm_eps", json!(self.layer_norm_eps));
        put("pad_token_id", json!(self.pad_token_id));
        let mut caldera = self.caldera.clone();
        if let Mixer::Linformer(linformer) = &self.mixer {
            caldera.insert("mixer".to_string(), json!(self.mixer.name()));
            caldera.insert("k".to_string(), json!(linformer.k));
            caldera.insert("sharing".to_string(), json!(linformer.sharing));
        }
        if !caldera.is_empty() {
            put("caldera", Value::Object(caldera));
        }
        put_labels(&mut map, &self.labels);
        map.sort_keys();
        Value::Object(map)
    }
}

/// `caldera`: the mixer, and what else stands there.
fn mixer(r: &mut Settings) -> Result<(Mixer, Map<String, Value>), ModelError> {
    let mut caldera = match r.take("caldera") {
        None => return Ok((Mixer::Softmax, Map::new())),
        Some(Value::Object(map)) => map,
        Some(other) => {
            return Err(r.error(
                "caldera",
                "an object",
                &other.to_string(),
                "Export the student again",
            ));
        }
    };
    const AGAIN: &str = "Export the student again with this version";
    let name = caldera.shift_remove("mixer");
    match name.as_ref().map(|v| v.as_str().unwrap_or_default()) {
        None | Some("softmax") => Ok((Mixer::Softmax, caldera)),
        Some("linformer") => {
            let k = caldera
                .shift_remove("k")
                .and_then(|v| usize::try_from(v.as_u64()?).ok());
            let k = k.filter(|&k| k > 0).ok_or_else(|| {
                r.error(
                    "caldera.k",
                    "a whole number of at least 1",
                    "nothing of the kind",
                    AGAIN,
                )
            })?;
            let sharing = match caldera.shift_remove("sharing") {
                None => Sharing::None,
                Some(value) => Sharing::deserialize(&value).map_err(|_| {
                    r.error(
                        "caldera.sharing",
                        "none, kv or layer",
                        &value.to_string(),
                        AGAIN,
                    )
                })?,
            };
            Ok((Mixer::Linformer(LinformerConfig { k, sharing }), caldera))
        }
        Some(other) => Err(r.error("caldera.mixer", "softmax or linformer", other, AGAIN)),
    }
}

impl TryFrom<Value> for TextConfig {
    type Error = ModelError;
    fn try_from(value: Value) -> Result<Self, ModelError> {
        Self::from_value(value, "config.json")
    }
}

impl From<TextConfig> for Value {
    fn from(config: TextConfig) -> Self {
        config.to_value()
    }
}
