//! Speech models of a pair: their facts, what they hear, timed passes.

use std::{rc::Rc, sync::Arc};

use burn::tensor::Device;
use caldera_models::{
    Checkpoint, CtcVocabulary, DeviceTensors, FeatureExtractor, ForwardOptions, ModelError,
    Parameters, SpeechArchitecture, SpeechBatch, SpeechConfig, SpeechModel, SpeechOutput,
};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use super::classes::{classes, largest};
use super::measure::Pass;
use super::{Engine, object, read, refuse};
use crate::timing;

/// Bytes that one tensor may take on the CPU engine: wasm has 4 GiB in all, and a pass holds a few at once.
const CPU_TENSOR_BYTES: u64 = 512 << 20;

/// A speech model on the device.
pub(super) struct SpeechSide {
    model: SpeechModel,
    pub(super) extractor: FeatureExtractor,
    /// What the classes of a CTC head stand for.
    pub(super) vocabulary: Option<CtcVocabulary>,
    /// Samples that the device has room for.
    most_samples: usize,
}

/// What the page tells about a model.
#[derive(Serialize)]
struct SpeechFacts {
    kind: &'static str,
    /// Whether it writes down what it hears; else it names a class.
    transcribes: bool,
    family: &'static str,
    mixer: &'static str,
    /// States of a channel of a Mamba mixer; none in a transformer.
    d_state: Option<usize>,
    layers: usize,
    hidden_size: usize,
    heads: usize,
    parameters: usize,
    labels: Vec<String>,
    /// Samples a second.
    sampling_rate: u32,
    /// Samples of the first frame, and from the beginning of one frame to that of the next.
    least_samples: usize,
    hop: usize,
    /// The longest clip that the device has room for.
    max_seconds: f64,
    /// Bytes of the file.
    weight_bytes: usize,
}

/// What one model heard.
#[derive(Serialize)]
struct Heard {
    /// What was said, or the likeliest class.
    label: String,
    /// Every class with its probability, in the order of the logits; none of a model that transcribes.
    probabilities: Vec<(String, f64)>,
    seconds: f64,
    frames: usize,
    /// From normalised samples to the text or the probabilities.
    ms: f64,
    /// Normalising.
    extract_ms: f64,
}

impl SpeechSide {
    /// `other` is the side that was loaded before: a pair may keep the files that say how to read and write clips there.
    pub(super) fn new(
        checkpoint: &Checkpoint,
        tensors: &DeviceTensors,
        other: Option<&Self>,
        device: &Device,
        max_binding: Option<u64>,
    ) -> Result<Self, JsError> {
        let mut model = SpeechModel::from_device(checkpoint, tensors, device).map_err(refuse)?;
        // What was read from them is all that is needed of them.
        model.files = Arc::default();
        let config = &model.config;
        let extractor = extractor(checkpoint, other).map_err(refuse)?;
        let vocabulary = match config.architecture {
            SpeechArchitecture::Ctc => Some(vocabulary(checkpoint, other).map_err(refuse)?),
            _ => None,
        };
        if let Some(vocabulary) = &vocabulary {
            let classes = vocabulary.check_classes(config.vocab_size);
            classes.map_err(refuse)?;
            let blank = vocabulary.check_blank(config.pad_token_id);
            blank.map_err(refuse)?;
        }
        let most_samples = most_samples(config, max_binding.unwrap_or(CPU_TENSOR_BYTES));
        Ok(Self {
            model,
            extractor,
            vocabulary,
            most_samples,
        })
    }

    pub(super) fn facts(&self, tensors: &DeviceTensors) -> Result<JsValue, JsError> {
        let config = &self.model.config;
        let rate = self.extractor.sampling_rate;
        object(&SpeechFacts {
            kind: "speech",
            transcribes: config.architecture == SpeechArchitecture::Ctc,
            family: "wav2vec2",
            mixer: config.mixer.name(),
            d_state: config.bimamba2().map(|mamba| mamba.d_state),
            layers: config.num_hidden_layers,
            hidden_size: config.hidden_size,
            heads: config.num_attention_heads,
            parameters: self.model.num_parameters(),
            labels: config.labels.clone(),
            sampling_rate: rate,
            least_samples: config.least_samples(),
            hop: config.hop(),
            max_seconds: self.most_samples as f64 / f64::from(rate),
            weight_bytes: tensors.stored_bytes(),
        })
    }

    /// What the model takes of a clip.
    fn extract(&self, name: &str, samples: &[f32]) -> Result<Vec<f32>, JsError> {
        let seconds = |samples: usize| samples as f64 / f64::from(self.extractor.sampling_rate);
        let (count, least) = (samples.len(), self.model.config.least_samples());
        if count > self.most_samples {
            return Err(refuse(format!(
                "{name}: the clip has {:.1} s, and this device has room for {:.1} s at once. Give a shorter one",
                seconds(count),
                seconds(self.most_samples)
            )));
        }
        let input = self.extractor.extract(samples).map_err(refuse)?;
        if count < least {
            return Err(refuse(format!(
                "expected at least {least} samples ({:.3} s, one frame), found {count}. Give a longer clip",
                seconds(least)
            )));
        }
        Ok(input)
    }

    fn forward(&self, input: &[f32], device: &Device) -> SpeechOutput {
        let batch = SpeechBatch::new(&[input], &self.model.config, device);
        self.model.forward(&batch, &ForwardOptions::default())
    }

    /// Passes over `seconds` of noise, batch included: it looks at every sample where the model has a group norm.
    pub(super) fn pass(
        self: Rc<Self>,
        name: &str,
        seconds: usize,
        device: &Device,
    ) -> Result<Pass, JsError> {
        let rate = self.extractor.sampling_rate as usize;
        let input = self.extract(name, &timing::babble(seconds.saturating_mul(rate), rate))?;
        let device = device.clone();
        Ok(Box::new(move || {
            let output = self.forward(&input, &device);
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

/// The file of this name beside the model, and what to call it.
fn beside<'a>(checkpoint: &'a Checkpoint, name: &str) -> (Option<&'a Vec<u8>>, String) {
    (
        checkpoint.files.get(name),
        format!("{}/{name}", checkpoint.source),
    )
}

fn missing(file: String, what: &str) -> ModelError {
    ModelError::Pair {
        file,
        detail: format!("expected {what} beside the weights, found none"),
        advice: "Add it and load again".to_string(),
    }
}

fn extractor(
    checkpoint: &Checkpoint,
    other: Option<&SpeechSide>,
) -> Result<FeatureExtractor, ModelError> {
    let (bytes, file) = beside(checkpoint, "preprocessor_config.json");
    let own = bytes.map(|bytes| FeatureExtractor::from_json(bytes, &file));
    let shared = other.map(|other| &other.extractor);
    match (own.transpose()?, shared) {
        (Some(own), Some(shared)) if own.sampling_rate != shared.sampling_rate => {
            Err(ModelError::Pair {
                file,
                detail: format!(
                    "expected sampling_rate {}, which the transformer has, found {}",
                    shared.sampling_rate, own.sampling_rate
                ),
                advice: "Both models of a pair listen to the same clip: give them one rate"
                    .to_string(),
            })
        }
        (Some(own), _) => Ok(own),
        (None, Some(shared)) => Ok(shared.clone()),
        (None, None) => Err(missing(file, "the sampling rate of the model")),
    }
}

fn vocabulary(
    checkpoint: &Checkpoint,
    other: Option<&SpeechSide>,
) -> Result<CtcVocabulary, ModelError> {
    let (bytes, file) = beside(checkpoint, "vocab.json");
    let roles = checkpoint.files.get("tokenizer_config.json");
    match (bytes, other.and_then(|other| other.vocabulary.clone())) {
        (Some(bytes), _) => CtcVocabulary::from_files(bytes, roles.map(Vec::as_slice), &file),
        (None, Some(shared)) => Ok(shared),
        (None, None) => Err(missing(file, "the characters of the CTC head")),
    }
}

/// Samples whose widest layer takes `bytes` at the most. The convolutions in front run in parts of bounded size.
fn most_samples(config: &SpeechConfig, bytes: u64) -> usize {
    let mamba = config.bimamba2().map_or(0, |mamba| {
        2 * (mamba.channels() + mamba.n_groups * mamba.d_state) + mamba.num_heads
    });
    let widths = [
        config.intermediate_size,
        config.hidden_size,
        config.vocab_size,
        mamba,
    ];
    let widest = widths
        .into_iter()
        .chain(config.conv_layers.last().map(|layer| layer.dim));
    let frame = 4 * widest.max().unwrap_or(1).max(1) as u64;
    config.samples((bytes / frame) as usize)
}

#[wasm_bindgen]
impl Engine {
    /// What one model hears in a clip, mono at its sampling rate: `{label, probabilities, seconds, frames, ms, extract_ms}`.
    pub async fn hear(&self, name: &str, samples: Vec<f32>) -> Result<JsValue, JsError> {
        let side = self.speech(name)?;
        let config = &side.model.config;
        let start = timing::now();
        let input = side.extract(name, &samples)?;
        let extract_ms = timing::now() - start;
        let start = timing::now();
        let output = side.forward(&input, &self.device);
        let logits = output.logits.ok_or_else(|| {
            refuse(format!(
                "{name}: the model has no head, so it cannot say what it hears"
            ))
        })?;
        let [_, _, width] = logits.dims();
        let logits = read(logits).await?;
        let (label, probabilities) = match &side.vocabulary {
            Some(vocabulary) => {
                let frames = logits.chunks(width).map(|frame| largest(frame) as u32);
                (vocabulary.decode(&frames.collect::<Vec<_>>()), Vec::new())
            }
            None => classes(&logits, &config.labels),
        };
        object(&Heard {
            label,
            probabilities,
            seconds: samples.len() as f64 / f64::from(side.extractor.sampling_rate),
            frames: config.frames(samples.len()),
            ms: timing::now() - start,
            extract_ms,
        })
    }
}
