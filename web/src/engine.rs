//! The device and the pair of models on it.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use burn::tensor::{Device, Tensor};
use caldera_models::{
    Checkpoint, ForwardOptions, Mixer, ModelError, Pair, PairSide, TextBatch, TextModel,
    TextTokenizer,
};
use caldera_shaders::fixture::Case;
use js_sys::{Object, Uint8Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::{panics, report, timing};

/// Burn's version, as in Cargo.lock (the browser tests compare).
const BURN: &str = "0.22.0";

/// One worker's engine.
#[wasm_bindgen]
pub struct Engine {
    device: Device,
    gpu: bool,
    /// Bytes that one binding of the adapter may have; 0 where there is no adapter.
    max_binding: u64,
    source: RefCell<String>,
    pair: RefCell<Option<Pair>>,
    models: RefCell<BTreeMap<&'static str, Rc<Loaded>>>,
}

struct Loaded {
    model: TextModel,
    tokenizer: Option<TextTokenizer>,
}

/// What the page tells about a model.
#[derive(Serialize)]
struct ModelFacts {
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

#[derive(Serialize)]
struct Versions {
    caldera: &'static str,
    burn: &'static str,
}

/// An error that the page shows as it is.
pub(crate) fn refuse(message: impl std::fmt::Display) -> JsError {
    JsError::new(&message.to_string())
}

fn side(name: &str) -> Result<PairSide, JsError> {
    match name {
        "transformer" => Ok(PairSide::Transformer),
        "linear" => Ok(PairSide::Linear),
        other => Err(refuse(format!(
            "expected the model \"transformer\" or \"linear\", found {other:?}"
        ))),
    }
}

/// Plain objects, as JSON would give them.
fn object(value: &impl Serialize) -> Result<JsValue, JsError> {
    value
        .serialize(&serde_wasm_bindgen::Serializer::json_compatible())
        .map_err(refuse)
}

/// An object of `Uint8Array`s by path.
fn files(object: &Object) -> Result<BTreeMap<String, Vec<u8>>, JsError> {
    let mut files = BTreeMap::new();
    for entry in Object::entries(object) {
        let entry = js_sys::Array::from(&entry);
        let path = entry.get(0).as_string().unwrap_or_default();
        let bytes: Uint8Array = entry
            .get(1)
            .dyn_into()
            .map_err(|_| refuse(format!("{path}: expected its bytes as a Uint8Array")))?;
        files.insert(path, bytes.to_vec());
    }
    Ok(files)
}

#[wasm_bindgen]
impl Engine {
    /// Takes the browser's GPU (`"webgpu"`) or the CPU in wasm (`"cpu"`). Once per worker for WebGPU.
    pub async fn start(engine: &str) -> Result<Engine, JsError> {
        panics::install();
        let (device, max_binding) = match engine {
            "cpu" => (Device::flex(), 0),
            "webgpu" => {
                let (device, setup) = Device::wgpu_options()
                    .init_with_setup_async()
                    .await
                    .map_err(refuse)?;
                let limits = setup.device.limits();
                (
                    device,
                    limits
                        .max_storage_buffer_binding_size
                        .min(limits.max_buffer_size),
                )
            }
            other => {
                return Err(refuse(format!(
                    "expected the engine \"webgpu\" or \"cpu\", found {other:?}"
                )));
            }
        };
        Ok(Engine {
            gpu: engine == "webgpu",
            device,
            max_binding,
            source: RefCell::default(),
            pair: RefCell::default(),
            models: RefCell::default(),
        })
    }

    /// Versions of this build: `{caldera, burn}`.
    pub fn versions() -> Result<JsValue, JsError> {
        object(&Versions {
            caldera: env!("CARGO_PKG_VERSION"),
            burn: BURN,
        })
    }

    /// Opens a pair by the bytes of its `pair.json` and gives it as an object. Without one, the two folders are
    /// taken as they are, unchecked. What was loaded before is dropped.
    pub fn open(&self, pair: Option<Vec<u8>>, source: &str) -> Result<JsValue, JsError> {
        self.models.borrow_mut().clear();
        self.device.memory_cleanup();
        *self.pair.borrow_mut() = None;
        *self.source.borrow_mut() = source.to_string();
        let Some(bytes) = pair else {
            return Ok(JsValue::NULL);
        };
        let pair = Pair::from_bytes(&bytes, source).map_err(refuse)?;
        let facts = object(&pair)?;
        *self.pair.borrow_mut() = Some(pair);
        Ok(facts)
    }

    /// Puts one model of the opened pair (`"transformer"` or `"linear"`) on the device. `bytes` holds its files by
    /// path as in `pair.json`, each checked against size and SHA-256.
    pub async fn load(&self, name: &str, bytes: &Object) -> Result<JsValue, JsError> {
        let side = side(name)?;
        let files = files(bytes)?;
        let checkpoint = self.checkpoint(side, files).map_err(refuse)?;
        self.check_limits(&checkpoint, side)?;
        let source = format!("{}/{}", self.source.borrow(), side.folder());
        let tokenizer = match checkpoint.tokenizer.as_deref() {
            Some(bytes) => Some(
                TextTokenizer::from_bytes(bytes, &format!("{source}/tokenizer.json"))
                    .map_err(refuse)?,
            ),
            None => None,
        };
        let mut model = TextModel::from_checkpoint(&checkpoint, &self.device).map_err(refuse)?;
        // The tokenizer above is all that is needed of it.
        model.set_tokenizer_json(None);
        if let Some(tokenizer) = &tokenizer {
            tokenizer
                .check_vocab(model.config.vocab_size)
                .map_err(refuse)?;
        }
        let config = &model.config;
        let facts = object(&ModelFacts {
            family: config.family.model_type(),
            mixer: config.mixer.name(),
            k: match &config.mixer {
                Mixer::Linformer(linformer) => Some(linformer.k),
                Mixer::Softmax => None,
            },
            layers: config.num_hidden_layers,
            hidden_size: config.hidden_size,
            heads: config.num_attention_heads,
            parameters: model.num_parameters(),
            vocab_size: config.vocab_size,
            max_length: config.max_length(),
            labels: config.labels.clone(),
            tokenizer: tokenizer.is_some(),
            weight_bytes: checkpoint
                .tensors
                .values()
                .map(|tensor| tensor.bytes.len())
                .sum(),
        })?;
        drop(checkpoint);
        self.settle().await?;
        self.models
            .borrow_mut()
            .insert(side.folder(), Rc::new(Loaded { model, tokenizer }));
        Ok(facts)
    }

    /// One model's answer: `{label, probabilities, tokens, truncated, ms, tokenize_ms}`.
    pub async fn answer(
        &self,
        name: &str,
        text: &str,
        second: Option<String>,
    ) -> Result<JsValue, JsError> {
        let loaded = self.loaded(name)?;
        let tokenizer = match &loaded.tokenizer {
            Some(tokenizer) => tokenizer.clone(),
            // A pair may keep its one tokenizer beside the transformer.
            None => self
                .loaded("transformer")?
                .tokenizer
                .clone()
                .ok_or_else(|| {
                    refuse(format!(
                        "{name}/tokenizer.json: the pair has no tokenizer; add it and load again"
                    ))
                })?,
        };
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
        let probabilities = softmax(&logits);
        let ms = timing::now() - start;
        let best = (0..logits.len())
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
            .unwrap_or(0);
        let label = |i: usize| {
            config
                .labels
                .get(i)
                .cloned()
                .unwrap_or_else(|| format!("LABEL_{i}"))
        };
        object(&Answer {
            label: label(best),
            probabilities: probabilities
                .iter()
                .enumerate()
                .map(|(i, &p)| (label(i), p))
                .collect(),
            tokens: ids[0].len(),
            truncated,
            ms,
            tokenize_ms,
        })
    }

    /// Milliseconds of one forward pass over `length` random tokens: `forwards` of them share one awaited read.
    pub async fn measure(
        &self,
        name: &str,
        length: usize,
        forwards: usize,
    ) -> Result<f64, JsError> {
        let loaded = self.loaded(name)?;
        timing::measure(&loaded.model, &self.device, length, forwards.max(1)).await
    }

    /// Bytes that the device held beyond the weights at the most during one forward pass over `length` tokens.
    pub async fn peak_bytes(&self, name: &str, length: usize) -> Result<f64, JsError> {
        let loaded = self.loaded(name)?;
        timing::peak_bytes(&loaded.model, &self.device, self.gpu, length).await
    }

    /// Runs one reference case (its folder's files by path) on this device, as the native tests do.
    pub async fn check_case(&self, path: &str, bytes: &Object) -> Result<JsValue, JsError> {
        let case = Case::from_files(path, files(bytes)?).map_err(refuse)?;
        let report = match caldera_shaders::cases::check(&case, &self.device).await {
            Some(report) => Some(report),
            None => caldera_models::cases::check(&case, &self.device).await,
        };
        object(&report.map_or_else(|| report::Case::unknown(&case.path), report::Case::from))
    }
}

impl Engine {
    fn checkpoint(
        &self,
        side: PairSide,
        files: BTreeMap<String, Vec<u8>>,
    ) -> Result<Checkpoint, ModelError> {
        let source = self.source.borrow();
        if let Some(pair) = self.pair.borrow().as_ref() {
            return pair.checkpoint(side, &files, &source);
        }
        let folder = format!("{source}/{}", side.folder());
        let find = |name: &str| files.get(&format!("{}/{name}", side.folder()));
        let need = |name: &str| {
            find(name).ok_or_else(|| ModelError::Pair {
                file: format!("{folder}/{name}"),
                detail: "expected it beside the other files, found none".to_string(),
                advice: "Choose the whole folder of the pair".to_string(),
            })
        };
        Checkpoint::from_bytes(
            need("config.json")?,
            need("model.safetensors")?,
            find("tokenizer.json").cloned(),
            &folder,
        )
    }

    fn loaded(&self, name: &str) -> Result<Rc<Loaded>, JsError> {
        let side = side(name)?;
        self.models
            .borrow()
            .get(side.folder())
            .cloned()
            .ok_or_else(|| refuse(format!("the {name} model is not loaded")))
    }

    /// Refuses a tensor that the adapter could not bind whole.
    fn check_limits(&self, checkpoint: &Checkpoint, side: PairSide) -> Result<(), JsError> {
        for (name, tensor) in &checkpoint.tensors {
            let bytes = 4 * tensor.shape.iter().product::<usize>() as u64;
            if self.gpu && bytes > self.max_binding {
                return Err(refuse(format!(
                    "{}/model.safetensors: tensor `{name}` takes {} MiB, and this adapter binds at most {} MiB at once. \
                     Try the CPU engine",
                    side.folder(),
                    bytes >> 20,
                    self.max_binding >> 20
                )));
            }
        }
        Ok(())
    }

    /// Waits until the device has taken everything, so that its errors come now.
    async fn settle(&self) -> Result<(), JsError> {
        read(Tensor::<1>::zeros([1], &self.device)).await.map(drop)
    }
}

/// A small float tensor's values.
pub(crate) async fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, JsError> {
    let data = tensor.into_data_async().await.map_err(|error| {
        refuse(format!(
            "the device gave no result ({error:?}). It may be lost or out of memory: start it again"
        ))
    })?;
    data.try_to_vec()
        .map_err(|error| refuse(format!("expected 32-bit floats from the device: {error:?}")))
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    let powers: Vec<f64> = logits
        .iter()
        .map(|&logit| (logit as f64 - largest).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}
