//! Language models of a pair: their facts, generated text, timed steps at a context.

use burn::tensor::{Device, Int, Tensor, TensorData};
use caldera_models::{
    Checkpoint, DecodeState, DeviceTensors, GenerateOptions, LanguageModel, Parameters, Sampling,
    Stop, TextStream, TextTokenizer,
};
use caldera_shaders::GpuWindow;
use js_sys::{Function, Promise};
use serde::{Deserialize, Serialize};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::{Engine, object, read, refuse, side};
use crate::timing::{self, Peak};

/// A language model on the device.
pub(super) struct LanguageSide {
    model: LanguageModel,
    pub(super) tokenizer: Option<TextTokenizer>,
}

/// What the page tells about a model.
#[derive(Serialize)]
struct LanguageFacts {
    kind: &'static str,
    family: &'static str,
    mixer: &'static str,
    /// States of a channel of a Mamba mixer; none in a transformer.
    d_state: Option<usize>,
    layers: usize,
    hidden_size: usize,
    parameters: usize,
    vocab_size: usize,
    /// Tokens that a text may have, those to come included; none where there is no limit.
    max_length: Option<usize>,
    tokenizer: bool,
    /// Bytes of the file.
    weight_bytes: usize,
}

/// What the page asks for.
#[derive(Deserialize)]
#[serde(default)]
struct Options {
    max_new_tokens: usize,
    /// 0: the likeliest token each time.
    temperature: f64,
    top_k: Option<usize>,
    top_p: Option<f64>,
    seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_new_tokens: 100,
            temperature: 0.0,
            top_k: None,
            top_p: None,
            seed: 0,
        }
    }
}

/// One token's news.
#[derive(Serialize)]
struct Token {
    id: u32,
    /// The text that became whole with it; empty within a character.
    text: String,
    /// Generated so far.
    tokens: usize,
    state_bytes: usize,
    prefill_ms: f64,
    /// Mean over the tokens behind the first.
    decode_ms_per_token: Option<f64>,
}

/// A whole text.
#[derive(Serialize)]
struct Generated {
    text: String,
    tokens: usize,
    prompt_tokens: usize,
    /// From the prompt's ids to the first token.
    prefill_ms: f64,
    /// Mean over the tokens behind the first, each read back; none where there is but one.
    decode_ms_per_token: Option<f64>,
    tokens_per_second: Option<f64>,
    state_bytes: usize,
    /// "end", "length", "positions" or "asked".
    stop: &'static str,
}

/// A context that is ready for timed steps.
#[derive(Serialize)]
struct Context {
    /// None where the state was made without running the tokens.
    prefill_ms: Option<f64>,
    /// The first step.
    first_ms: f64,
    state_bytes: usize,
    /// The most that was held beyond weights and earlier contexts, prefill and first step included.
    peak_bytes: f64,
}

impl LanguageSide {
    pub(super) fn new(
        checkpoint: &Checkpoint,
        tensors: &DeviceTensors,
        tokenizer: Option<TextTokenizer>,
        device: &Device,
    ) -> Result<Self, JsError> {
        let mut model = LanguageModel::from_device(checkpoint, tensors, device).map_err(refuse)?;
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
        object(&LanguageFacts {
            kind: "language",
            family: config.gpt_neox().map_or("mamba", |_| "gpt_neox"),
            mixer: config.mixer.name(),
            d_state: config.mamba().map(|mamba| mamba.d_state),
            layers: config.num_hidden_layers,
            hidden_size: config.hidden_size,
            parameters: self.model.num_parameters(),
            vocab_size: config.vocab_size,
            max_length: config.max_length(),
            tokenizer: self.tokenizer.is_some(),
            weight_bytes: tensors.stored_bytes(),
        })
    }

    /// The ids of a prompt that this model can take.
    fn encode(&self, tokenizer: &TextTokenizer, prompt: &str) -> Result<Vec<u32>, JsError> {
        if let Some((at, letter)) = tokenizer.unknown(prompt).map_err(refuse)? {
            return Err(refuse(format!(
                "The prompt: the tokenizer has no token for “{letter}” (character {}). Leave it out, or write it differently",
                at + 1
            )));
        }
        let ids = tokenizer.encode_plain(prompt).map_err(refuse)?;
        if ids.is_empty() {
            return Err(refuse(
                "The prompt is empty: expected at least one token, found none. Write how the text begins",
            ));
        }
        match self.model.config.max_length() {
            Some(most) if ids.len() > most => Err(refuse(format!(
                "The prompt has {} tokens, and this model has positions for {most} (max_position_embeddings). \
                 Shorten the prompt",
                ids.len()
            ))),
            _ => Ok(ids),
        }
    }

    /// Any token will do.
    fn token(&self) -> Tensor<1, Int> {
        let id = (self.model.config.vocab_size / 2) as i64;
        Tensor::from_data(TensorData::new(vec![id], [1]), &self.model.device())
    }
}

/// An exception of the page's own code.
fn thrown(value: JsValue) -> JsError {
    refuse(format!("the page's own code failed: {value:?}"))
}

fn stop_name(stop: Option<Stop>) -> &'static str {
    match stop {
        Some(Stop::End) => "end",
        Some(Stop::Length) => "length",
        Some(Stop::Positions) => "positions",
        Some(Stop::Asked) | None => "asked",
    }
}

#[wasm_bindgen]
impl Engine {
    /// Continues a prompt: `{text, tokens, prompt_tokens, prefill_ms, decode_ms_per_token, tokens_per_second,
    /// state_bytes, stop}`.
    ///
    /// `options` may have `max_new_tokens`, `temperature` (0: greedy), `top_k`, `top_p` and `seed`. `on_token` is called
    /// with `{id, text, tokens, state_bytes, prefill_ms, decode_ms_per_token}` after each token, and what it gives is
    /// awaited, uncounted, so that the worker can hear other messages; `false` stops the text.
    pub async fn generate(
        &self,
        name: &str,
        prompt: &str,
        options: JsValue,
        on_token: &Function,
    ) -> Result<JsValue, JsError> {
        let side = self.language(name)?;
        let tokenizer = self.tokenizer(name)?;
        let options: Options = serde_wasm_bindgen::from_value(options)
            .map_err(|error| refuse(format!("The options of the text: {error}")))?;
        let ids = side.encode(&tokenizer, prompt)?;
        let sampling = if options.temperature == 0.0 {
            Sampling::Greedy
        } else {
            Sampling::Random {
                temperature: options.temperature,
                top_k: options.top_k,
                top_p: options.top_p,
            }
        };
        let options = GenerateOptions {
            sampling,
            seed: options.seed,
            max_new_tokens: options.max_new_tokens,
            stop_at_end: true,
        };
        let mut stream = TextStream::new(&tokenizer, &ids);
        let mut text = String::new();
        let (mut prefill_ms, mut decode_ms, mut asked) = (0.0, 0.0, false);
        let mut start = timing::now();
        let mut words = side.model.continuation(&ids, &options).map_err(refuse)?;
        let mean = |ms: f64, tokens: usize| (tokens > 1).then(|| ms / (tokens - 1) as f64);
        while !asked {
            let Some(token) = words.next().await.map_err(refuse)? else {
                break;
            };
            let took = timing::now() - start;
            let tokens = words.tokens().len();
            if tokens == 1 {
                prefill_ms = took;
            } else {
                decode_ms += took;
            }
            let news = Token {
                id: token,
                // A token that ends a text is no part of it.
                text: match words.stop() {
                    Some(Stop::End) => String::new(),
                    _ => stream.push(token).map_err(refuse)?,
                },
                tokens,
                state_bytes: words.state().map_or(0, DecodeState::bytes),
                prefill_ms,
                decode_ms_per_token: mean(decode_ms, tokens),
            };
            text.push_str(&news.text);
            let answer = on_token
                .call1(&JsValue::NULL, &object(&news)?)
                .map_err(thrown)?;
            let answer = JsFuture::from(Promise::resolve(&answer)).await;
            asked = answer.map_err(thrown)? == JsValue::FALSE;
            start = timing::now();
        }
        let tokens = words.tokens().len();
        let decode_ms_per_token = mean(decode_ms, tokens);
        object(&Generated {
            text,
            tokens,
            prompt_tokens: ids.len(),
            prefill_ms,
            decode_ms_per_token,
            tokens_per_second: decode_ms_per_token.map(|ms| 1000.0 / ms.max(1e-3)),
            state_bytes: words.state().map_or(0, DecodeState::bytes),
            stop: stop_name(words.stop()),
        })
    }

    /// Makes a context of `length` random tokens for [`Engine::decode`], runs one step at it and keeps it: `{prefill_ms,
    /// first_ms, state_bytes, peak_bytes}`. Without `prefill` the state is made of zeros, which takes no time and changes none.
    pub async fn hold(&self, name: &str, length: usize, prefill: bool) -> Result<JsValue, JsError> {
        // One that is held already makes room.
        self.take_held(name, length).ok();
        let side = self.language(name)?;
        let (model, config) = (&side.model, &side.model.config);
        let ids = timing::random_ids(length, config.vocab_size, config.padding());
        model.validate(std::slice::from_ref(&ids)).map_err(refuse)?;
        let keys = 4 * (length.next_power_of_two() * config.hidden_size) as u64;
        if self.gpu && config.mamba().is_none() && keys > self.max_binding {
            return Err(refuse(format!(
                "{name}: the keys of {length} tokens take {} MiB, and this adapter binds at most {} MiB at once. \
                 Try the CPU engine",
                keys >> 20,
                self.max_binding >> 20
            )));
        }
        let peak = Peak::start(&self.device, self.gpu)?;
        let (prefill_ms, mut state) = if prefill {
            let ids: Vec<i64> = ids.into_iter().map(i64::from).collect();
            let ids = Tensor::from_data(TensorData::new(ids, [1, length]), &self.device);
            let start = timing::now();
            let (logits, state) = model.prefill(ids);
            read(logits).await?;
            (Some(timing::now() - start), state)
        } else {
            (None, DecodeState::blank(model, length))
        };
        let state_bytes = state.bytes();
        // Back by one, so that the step ends where the context does.
        state.rewind(1);
        let token = side.token();
        let start = timing::now();
        read(model.step(token, &mut state)).await?;
        let facts = object(&Context {
            prefill_ms,
            first_ms: timing::now() - start,
            state_bytes,
            peak_bytes: peak.bytes()?,
        })?;
        self.keep_held(name, length, state)?;
        Ok(facts)
    }

    /// Milliseconds a token of the last `tokens` tokens of a held context: each takes the same token, the last one's
    /// logits are read, and nothing before. Several are preceded by an untimed one, which finds the caches as the model
    /// before left them.
    pub async fn decode(&self, name: &str, length: usize, tokens: usize) -> Result<f64, JsError> {
        let side = self.language(name)?;
        let mut held = self.take_held(name, length)?;
        let tokens = tokens.clamp(1, held.tokens());
        let token = side.token();
        if tokens > 1 {
            held.rewind(1);
            read(side.model.step(token.clone(), &mut held)).await?;
        }
        held.rewind(tokens);
        let start = timing::now();
        for _ in 1..tokens {
            // Queued on the device in order; its logits are dropped unread.
            side.model.step(token.clone(), &mut held);
        }
        read(side.model.step(token, &mut held)).await?;
        let ms = (timing::now() - start) / tokens as f64;
        self.keep_held(name, length, held)?;
        Ok(ms)
    }

    /// The same by the GPU's own timestamps, from the first kernel to the end of the last, without a token before and the reading
    /// left out; none where it writes none.
    pub async fn decode_device_ms(
        &self,
        name: &str,
        length: usize,
        tokens: usize,
    ) -> Result<Option<f64>, JsError> {
        let side = self.language(name)?;
        // Nothing queued before belongs to the window.
        self.settle().await?;
        let mut held = self.take_held(name, length)?;
        let mut ms = None;
        if let Some(window) = GpuWindow::open(&self.device) {
            let tokens = tokens.clamp(1, held.tokens());
            held.rewind(tokens);
            for _ in 0..tokens {
                side.model.step(side.token(), &mut held);
            }
            ms = window.close().await.map(|ms| ms / tokens as f64);
        }
        self.keep_held(name, length, held)?;
        Ok(ms)
    }

    /// Lets go of a held context, or of all without a length.
    pub fn release(&self, length: Option<usize>) {
        self.contexts
            .borrow_mut()
            .retain(|&(_, held), _| length.is_some_and(|length| length != held));
        self.device.memory_cleanup();
    }
}

impl Engine {
    /// Takes a held context out, so that nothing is borrowed while its steps are awaited.
    fn take_held(&self, name: &str, length: usize) -> Result<DecodeState, JsError> {
        let key = (side(name)?.folder(), length);
        let held = self.contexts.borrow_mut().remove(&key);
        held.ok_or_else(|| refuse(format!("{name}: no context of {length} tokens is held")))
    }

    fn keep_held(&self, name: &str, length: usize, held: DecodeState) -> Result<(), JsError> {
        let key = (side(name)?.folder(), length);
        self.contexts.borrow_mut().insert(key, held);
        Ok(())
    }
}
