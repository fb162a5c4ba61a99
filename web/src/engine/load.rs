//! A pair on its way in: small files whole, weights in pieces as they arrive.

use std::{collections::BTreeMap, rc::Rc};

use caldera_models::checkpoint::SIDE_FILES;
use caldera_models::pair::WEIGHTS;
use caldera_models::{
    Checkpoint, DeviceTensors, ModelError, Pair, PairSide, TextTokenizer, WeightStream, language,
    text,
};
use js_sys::{Object, Uint8Array};
use wasm_bindgen::prelude::*;

use super::language::LanguageSide;
use super::speech::SpeechSide;
use super::text::TextSide;
use super::{Engine, Kind, Loaded, files, object, refuse, side};

/// A model whose weights are arriving.
pub(super) struct Loading {
    side: PairSide,
    /// All but its tensors.
    checkpoint: Checkpoint,
    weights: WeightStream,
    /// Where a piece lies between its arrival and its tensor: one place for all, so that no piece can fail to find one.
    piece: Vec<u8>,
}

/// Longest piece of a file that [`Engine::feed`] copies at once, in bytes.
const PIECE_BYTES: usize = 1 << 20;

#[wasm_bindgen]
impl Engine {
    /// Opens a pair by the bytes of its `pair.json` and gives it as an object. Without one, the two folders are
    /// taken as they are, unchecked. What was loaded before is dropped.
    pub fn open(&self, pair: Option<Vec<u8>>, source: &str) -> Result<JsValue, JsError> {
        self.loading.borrow_mut().take();
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

    /// Begins one model of the opened pair (`"transformer"` or `"linear"`). `bytes` holds its small files by path as in
    /// `pair.json`, each checked against size and SHA-256; its weights, a file of `size` bytes, come by [`Engine::feed`].
    pub fn begin(&self, name: &str, bytes: &Object, size: f64) -> Result<(), JsError> {
        let side = side(name)?;
        let checkpoint = self.without_weights(side, files(bytes)?);
        let checkpoint = checkpoint.map_err(refuse)?;
        let file = format!("{}/{}/{WEIGHTS}", self.source.borrow(), side.folder());
        let mut piece = Vec::new();
        piece.try_reserve_exact(PIECE_BYTES).map_err(|_| {
            refuse(format!(
                "{file}: expected {} MiB of free memory to read it, found less. Close other tabs, or take a smaller pair",
                PIECE_BYTES >> 20
            ))
        })?;
        piece.resize(PIECE_BYTES, 0);
        let weights = WeightStream::new(&file, size as u64, &self.device);
        *self.loading.borrow_mut() = Some(Loading {
            side,
            checkpoint,
            weights,
            piece,
        });
        Ok(())
    }

    /// The next bytes of the weights: each tensor goes to the device when its last byte is there. Await
    /// [`Engine::settle`] now and then, or the device falls behind.
    pub fn feed(&self, bytes: &Uint8Array) -> Result<(), JsError> {
        let mut loading = self.loading.borrow_mut();
        let Loading { weights, piece, .. } = loading.as_mut().ok_or_else(nothing_begun)?;
        let length = bytes.length();
        let fed = (0..length).step_by(PIECE_BYTES).try_for_each(|from| {
            let to = length.min(from + PIECE_BYTES as u32);
            let piece = &mut piece[..(to - from) as usize];
            bytes.subarray(from, to).copy_to(piece);
            weights.push(piece)
        });
        if fed.is_err() {
            // What is on the device already is of no use.
            *loading = None;
        }
        fed.map_err(refuse)
    }

    /// The weights have arrived: the model is checked, put together and ready, or dropped.
    pub async fn finish(&self) -> Result<JsValue, JsError> {
        let loading = self.loading.borrow_mut().take().ok_or_else(nothing_begun)?;
        let side = loading.side;
        let (loaded, facts) = self.put_together(loading)?;
        self.settle().await?;
        // What was widened to f32 leaves its 16 bits behind: they go back.
        self.device.memory_cleanup();
        self.models.borrow_mut().insert(side.folder(), loaded);
        Ok(facts)
    }
}

/// Whether a tensor is held in blocks of rows, so that it may be larger than the adapter binds.
fn in_blocks(tensor: &str) -> bool {
    language::is_token_table(tensor) || text::is_token_table(tensor)
}

fn nothing_begun() -> JsError {
    refuse("no model is being loaded")
}

impl Engine {
    fn put_together(&self, loading: Loading) -> Result<(Loaded, JsValue), JsError> {
        let Loading {
            side,
            checkpoint,
            weights,
            ..
        } = loading;
        let source = self.source.borrow();
        if let Some(pair) = self.pair.borrow().as_ref()
            && let Some(listed) = pair.file(side, WEIGHTS)
        {
            let arrived = weights.arrived();
            listed.verify_arrived(&arrived, &source).map_err(refuse)?;
        }
        let tensors = weights.finish().map_err(refuse)?;
        self.check_limits(&tensors, side)?;
        let tokenizer = match checkpoint.tokenizer.as_deref() {
            Some(bytes) => {
                let file = format!("{source}/{}/tokenizer.json", side.folder());
                Some(TextTokenizer::from_bytes(bytes, &file).map_err(refuse)?)
            }
            None => None,
        };
        let device = &self.device;
        Ok(match self.kind(&checkpoint) {
            Kind::Text => {
                let model = TextSide::new(&checkpoint, &tensors, tokenizer, device)?;
                let facts = model.facts(&tensors)?;
                (Loaded::Text(Rc::new(model)), facts)
            }
            Kind::Language => {
                let model = LanguageSide::new(&checkpoint, &tensors, tokenizer, device)?;
                let facts = model.facts(&tensors)?;
                (Loaded::Language(Rc::new(model)), facts)
            }
            Kind::Speech => {
                let other = match side {
                    PairSide::Linear => self.speech("transformer").ok(),
                    PairSide::Transformer => None,
                };
                let room = self.gpu.then_some(self.max_binding);
                let model = SpeechSide::new(&checkpoint, &tensors, other.as_deref(), device, room)?;
                let facts = model.facts(&tensors)?;
                (Loaded::Speech(Rc::new(model)), facts)
            }
        })
    }

    fn without_weights(
        &self,
        side: PairSide,
        files: BTreeMap<String, Vec<u8>>,
    ) -> Result<Checkpoint, ModelError> {
        let source = self.source.borrow();
        if let Some(pair) = self.pair.borrow().as_ref() {
            return pair.without_weights(side, &files, &source);
        }
        let folder = format!("{source}/{}", side.folder());
        let find = |name: &str| files.get(&format!("{}/{name}", side.folder()));
        let config = find("config.json").ok_or_else(|| ModelError::Pair {
            file: format!("{folder}/config.json"),
            detail: "expected it beside the other files, found none".to_string(),
            advice: "Choose the whole folder of the pair".to_string(),
        })?;
        let tokenizer = find("tokenizer.json").cloned();
        let mut checkpoint = Checkpoint::without_weights(config, tokenizer, &folder)?;
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

    /// Refuses a tensor that the adapter could not bind whole. Token tables need not be.
    fn check_limits(&self, tensors: &DeviceTensors, side: PairSide) -> Result<(), JsError> {
        for (name, shape) in tensors.shapes() {
            let bytes = 4 * shape.iter().product::<usize>() as u64;
            if self.gpu && bytes > self.max_binding && !in_blocks(name) {
                return Err(refuse(format!(
                    "{}/{WEIGHTS}: tensor `{name}` takes {} MiB, and this adapter binds at most {} MiB at once. \
                     Try the CPU engine",
                    side.folder(),
                    bytes >> 20,
                    self.max_binding >> 20
                )));
            }
        }
        Ok(())
    }
}
