//! Text models of a pair: their facts, their answers, timed passes.

use std::rc::Rc;

use burn::tensor::Device;
use caldera_models::{
    Checkpoint, DeviceTensors, ForwardOptions, Mixer, TextBatch, TextModel, TextTokenizer,
};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::classes::classes;
use super::measure::Pass;
use super::{Engine, object, read, refuse};
use crate::timing;

/// A text model on the device.
pub(super) struct TextSide {
    model: TextModel,
    pub(super) tokenizer: Option<TextTokenizer>,
}

/// What the page tells about a model.
#[derive(Serialize)]
struct TextFacts {
    kind: &'static str,
    family: &'static str,
    mixer: &'static str,
    /// Rows of a Linformer's projected keys; none in a transformer.
    k: Option<usize>,
    layers: usize,
    hidden_size: usize,
    heads: usize,
    parameters: usize,
    vocab_size: usize,
    /// Tokens that one text may have, special ones included.
    max_length: usize,
    labels: Vec<String>,
    tokenizer: bool,
    /// Bytes of the file.
    weight_bytes: usize,
}

/// One model's answer to a text.
#[derive(Serialize)]
struct Answer {
    /// The likeliest class.
    label: String,
    /// Every class with its probability, in the order of the logits.
    probabilities: Vec<(String, f64)>,
    tokens: usize,
    /// Whether the text was longer than the model takes, and was cut.
    truncated: bool,
    /// From token ids to the probabilities read back.
    ms: f64,
    /// Tokenising.
    tokenize_ms: f64,
}

impl TextSide {
    pub(super) fn new(
        checkpoint: &Checkpoint,
        tensors: &DeviceTensors,
        tokenizer: Option<TextTokenizer>,
        device: &Device,
    ) -> Result<Self, JsError> {
        let mut model = TextModel::from_device(checkpoint, tensors, device).map_err(refuse)?;
        // The tokenizer beside it is all that is needed of it.
        model.set_tokenizer_json(None);
        if let Some(tokenizer) = &tokenizer {
            tokenizer
                .check_vocab(model.config.vocab_size)
                .map_err(refuse)?;
        }
        Ok(Self { model, tokenizer })
    }

    pub(super) fn facts(&self, tensors: &DeviceTensors) -> Result<JsValue, JsError> {
        let config = &self.model.config;
        object(&TextFacts {
            kind: "text",
            family: config.family.model_type(),
            mixer: config.mixer.name(),
            k: match &config.mixer {
                Mixer::Linformer(linformer) => Some(linformer.k),
                Mixer::Softmax => None,
            },
            layers: config.num_hidden_layers,
            hidden_size: config.hidden_size,
            heads: config.num_attention_heads,
            parameters: self.model.num_parameters(),
            vocab_size: config.vocab_size,
            max_length: config.max_length(),
            labels: config.labels.clone(),
            tokenizer: self.tokenizer.is_some(),
            weight_bytes: tensors.stored_bytes(),
        })
    }

    /// Passes over one text of `length` random tokens, the same for every model with this vocabulary.
    pub(super) fn pass(self: Rc<Self>, length: usize, device: &Device) -> Result<Pass, JsError> {
        let config = &self.model.config;
        // A padding token among them would not be one.
        let ids = [timing::random_ids(
            length,
            config.vocab_size,
            config.pad_token_id,
        )];
        self.model.validate(&ids).map_err(refuse)?;
        let batch = TextBatch::new(&ids, None, config.pad_token_id, device);
        Ok(Box::new(move || {
            let output = self.model.forward(&batch, &ForwardOptions::default());
            match output.logits {
                Some(logits) => logits.reshape([-1]),
                // A bare encoder: one value waits for all.
                None => {
                    let first = output.last_hidden_state.slice([0..1, 0..1, 0..1]);
                    first.reshape([1])
                }
            }
        }))
    }
}

#[wasm_bindgen]
impl Engine {
    /// One model's answer: `{label, probabilities, tokens, truncated, ms, tokenize_ms}`.
    pub async fn answer(
        &self,
        name: &str,
        text: &str,
        second: Option<String>,
    ) -> Result<JsValue, JsError> {
        let loaded = self.text(name)?;
        let tokenizer = self.tokenizer(name)?;
        let config = &loaded.model.config;
        let start = timing::now();
        let encode = |limit| {
            tokenizer
                .encode(text, second.as_deref(), limit)
                .map_err(refuse)
        };
        let whole = encode(usize::MAX)?;
        let truncated = whole.ids.len() > config.max_length();
        let encoding = if truncated {
            encode(config.max_length())?
        } else {
            whole
        };
        let tokenize_ms = timing::now() - start;
        let (ids, type_ids) = (vec![encoding.ids], vec![encoding.type_ids]);
        loaded.model.validate(&ids).map_err(refuse)?;
        loaded.model.validate_type_ids(&type_ids).map_err(refuse)?;
        let start = timing::now();
        let batch = TextBatch::new(&ids, Some(&type_ids), config.pad_token_id, &self.device);
        let output = loaded.model.forward(&batch, &ForwardOptions::default());
        let logits = output.logits.ok_or_else(|| {
            refuse(format!(
                "{name}: the model has no classifier, so it cannot answer"
            ))
        })?;
        let logits = read(logits).await?;
        let (label, probabilities) = classes(&logits, &config.labels);
        let ms = timing::now() - start;
        object(&Answer {
            label,
            probabilities,
            tokens: ids[0].len(),
            truncated,
            ms,
            tokenize_ms,
        })
    }
}
