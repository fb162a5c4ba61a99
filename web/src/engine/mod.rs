//! The device and the pair of models on it.

mod classes;
mod language;
mod measure;
mod speech;
mod text;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use burn::tensor::{Device, Tensor};
use caldera_models::checkpoint::SIDE_FILES;
use caldera_models::{Checkpoint, DecodeState, ModelError, Pair, PairSide, TextTokenizer};
use caldera_shaders::fixture::Case;
use js_sys::{Object, Uint8Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::{panics, report};
use language::LanguageSide;
use speech::SpeechSide;
use text::TextSide;

/// Burn's version, as in Cargo.lock (the browser tests compare).
const BURN: &str = "0.22.0";

/// What the models of a pair are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Language,
    Speech,
}

impl Kind {
    /// By the pair's task.
    fn of_task(task: &str) -> Self {
        match task {
            "language-modeling" => Self::Language,
            "automatic-speech-recognition" | "audio-classification" => Self::Speech,
            _ => Self::Text,
        }
    }

    /// By `model_type` of `config.json`.
    fn of_type(model_type: Option<&str>) -> Self {
        match model_type {
            Some("gpt_neox" | "mamba") => Self::Language,
            Some("wav2vec2") => Self::Speech,
            _ => Self::Text,
        }
    }
}

/// One worker's engine.
#[wasm_bindgen]
pub struct Engine {
    device: Device,
    gpu: bool,
    /// Bytes that one binding of the adapter may have; 0 where there is no adapter.
    max_binding: u64,
    source: RefCell<String>,
    pair: RefCell<Option<Pair>>,
    models: RefCell<BTreeMap<&'static str, Loaded>>,
    /// Contexts that steps are timed at, by model and length.
    contexts: RefCell<BTreeMap<(&'static str, usize), DecodeState>>,
}

/// One side of the pair, on the device.
#[derive(Clone)]
enum Loaded {
    Text(Rc<TextSide>),
    Language(Rc<LanguageSide>),
    Speech(Rc<SpeechSide>),
}

impl Loaded {
    /// What it is, in words.
    fn name(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text classifier",
            Self::Language(_) => "a language model",
            Self::Speech(_) => "a speech model",
        }
    }
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

fn unexpected(name: &str, expected: &str, found: &Loaded) -> JsError {
    refuse(format!(
        "{name}: expected {expected}, found {}",
        found.name()
    ))
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

/// Bytes of a checkpoint's tensors.
fn weight_bytes(checkpoint: &Checkpoint) -> usize {
    checkpoint.tensors.values().map(|t| t.bytes.len()).sum()
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
            contexts: RefCell::default(),
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
        self.release(None);
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
        let (loaded, facts) = match self.kind(&checkpoint) {
            Kind::Text => {
                let model = TextSide::new(&checkpoint, tokenizer, &self.device)?;
                let facts = model.facts(&checkpoint)?;
                (Loaded::Text(Rc::new(model)), facts)
            }
            Kind::Language => {
                let model = LanguageSide::new(&checkpoint, tokenizer, &self.device)?;
                let facts = model.facts(&checkpoint)?;
                (Loaded::Language(Rc::new(model)), facts)
            }
            Kind::Speech => {
                let other = match side {
                    PairSide::Linear => self.speech("transformer").ok(),
                    PairSide::Transformer => None,
                };
                let room = self.gpu.then_some(self.max_binding);
                let model = SpeechSide::new(&checkpoint, other.as_deref(), &self.device, room)?;
                let facts = model.facts(&checkpoint)?;
                (Loaded::Speech(Rc::new(model)), facts)
            }
        };
        drop(checkpoint);
        self.settle().await?;
        self.models.borrow_mut().insert(side.folder(), loaded);
        Ok(facts)
    }

    /// Whether a further file of the opened pair, such as a sample's clip, is what its `pair.json` says.
    pub fn verify(&self, path: &str, bytes: &[u8]) -> Result<(), JsError> {
        let pair = self.pair.borrow();
        let listed = pair.as_ref().and_then(|pair| pair.listed(path));
        let listed = listed.ok_or_else(|| refuse(format!("{path}: the pair has no such file")))?;
        listed.verify(bytes, &self.source.borrow()).map_err(refuse)
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
        let mut checkpoint = Checkpoint::from_bytes(
            need("config.json")?,
            need("model.safetensors")?,
            find("tokenizer.json").cloned(),
            &folder,
        )?;
        let beside = SIDE_FILES.iter().filter_map(|&name| {
            let bytes = find(name)?;
            Some((name.to_string(), bytes.clone()))
        });
        checkpoint.files.extend(beside);
        Ok(checkpoint)
    }

    /// What a model is: by the pair's task, or without a `pair.json` by its `config.json`.
    fn kind(&self, checkpoint: &Checkpoint) -> Kind {
        match self.pair.borrow().as_ref() {
            Some(pair) => Kind::of_task(&pair.task),
            None => Kind::of_type(checkpoint.config["model_type"].as_str()),
        }
    }

    fn loaded(&self, name: &str) -> Result<Loaded, JsError> {
        let side = side(name)?;
        let loaded = self.models.borrow().get(side.folder()).cloned();
        loaded.ok_or_else(|| refuse(format!("the {name} model is not loaded")))
    }

    fn text(&self, name: &str) -> Result<Rc<TextSide>, JsError> {
        match self.loaded(name)? {
            Loaded::Text(side) => Ok(side),
            other => Err(unexpected(name, "a text classifier", &other)),
        }
    }

    fn language(&self, name: &str) -> Result<Rc<LanguageSide>, JsError> {
        match self.loaded(name)? {
            Loaded::Language(side) => Ok(side),
            other => Err(unexpected(name, "a language model", &other)),
        }
    }

    fn speech(&self, name: &str) -> Result<Rc<SpeechSide>, JsError> {
        match self.loaded(name)? {
            Loaded::Speech(side) => Ok(side),
            other => Err(unexpected(name, "a speech model", &other)),
        }
    }

    /// A model's tokenizer; a pair may keep its one tokenizer beside the transformer.
    fn tokenizer(&self, name: &str) -> Result<TextTokenizer, JsError> {
        let own = |name: &str| {
            Ok::<_, JsError>(match self.loaded(name)? {
                Loaded::Text(side) => side.tokenizer.clone(),
                Loaded::Language(side) => side.tokenizer.clone(),
                Loaded::Speech(_) => None,
            })
        };
        if let Some(tokenizer) = own(name)? {
            return Ok(tokenizer);
        }
        own("transformer")?.ok_or_else(|| {
            refuse(format!(
                "{name}/tokenizer.json: the pair has no tokenizer; add it and load again"
            ))
        })
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
