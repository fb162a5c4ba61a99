//! The device and the pair of models on it.

mod classes;
mod language;
mod load;
mod measure;
mod speech;
mod text;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use burn::tensor::{Device, Tensor};
use caldera_models::{DecodeState, Pair, PairSide, TextTokenizer};
use caldera_shaders::fixture::Case;
use caldera_shaders::{Tuning, force_tuning};
use js_sys::{Object, Uint8Array};
use serde::Serialize;
use wasm_bindgen::prelude::*;

use crate::{memory, panics, report};
use language::LanguageSide;
use load::Loading;
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
    /// The model whose weights are arriving.
    loading: RefCell<Option<Loading>>,
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
    /// Takes the browser's GPU (`"webgpu"`) or the CPU in wasm (`"cpu"`). Once per worker for WebGPU. `software` says that the
    /// adapter is one that runs on a CPU, which kernels are laid out for.
    pub async fn start(engine: &str, software: Option<bool>) -> Result<Engine, JsError> {
        panics::install();
        force_tuning(software.map(|software| match software {
            true => Tuning::Software,
            false => Tuning::Hardware,
        }));
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
            loading: RefCell::default(),
            models: RefCell::default(),
            contexts: RefCell::default(),
        })
    }

    /// Lays kernels out for `"hardware"` or for `"software"` adapters from now on, whichever this is.
    pub fn tune(tuning: &str) -> Result<(), JsError> {
        force_tuning(Some(match tuning {
            "hardware" => Tuning::Hardware,
            "software" => Tuning::Software,
            other => {
                return Err(refuse(format!(
                    "expected \"hardware\" or \"software\", found {other:?}"
                )));
            }
        }));
        Ok(())
    }

    /// Versions of this build: `{caldera, burn}`.
    pub fn versions() -> Result<JsValue, JsError> {
        object(&Versions {
            caldera: env!("CARGO_PKG_VERSION"),
            burn: BURN,
        })
    }

    /// Whether a further file of the opened pair, such as a sample's clip, is what its `pair.json` says.
    pub fn verify(&self, path: &str, bytes: &[u8]) -> Result<(), JsError> {
        let pair = self.pair.borrow();
        let listed = pair.as_ref().and_then(|pair| pair.listed(path));
        let listed = listed.ok_or_else(|| refuse(format!("{path}: the pair has no such file")))?;
        listed.verify(bytes, &self.source.borrow()).map_err(refuse)
    }

    /// Waits until the device has taken everything, so that its errors come now.
    pub async fn settle(&self) -> Result<(), JsError> {
        read(Tensor::<1>::zeros([1], &self.device)).await.map(drop)
    }

    /// What is held: `{wasm_bytes, allocated_bytes, reserved_bytes, used_bytes}`; the last two on WebGPU only.
    pub fn memory(&self) -> Result<JsValue, JsError> {
        object(&memory::Held::now(self.gpu.then_some(&self.device)))
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

    /// Names of the operators that [`Self::check_twin`] knows.
    pub fn twins() -> Vec<String> {
        caldera_shaders::twins::names().map(str::to_owned).collect()
    }

    /// Runs one operator with its gradients on this device and on the CPU, as `caldera check --device gpu` does.
    pub async fn check_twin(&self, name: &str) -> Result<JsValue, JsError> {
        let report = caldera_shaders::twins::check(name, &self.device).await;
        object(&report.map_or_else(|| report::Case::unknown(name), report::Case::from))
    }
}

impl Engine {
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
