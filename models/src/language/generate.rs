//! Text from a prompt.

use std::ops::ControlFlow;

use burn::tensor::{Tensor, TensorData};

use super::LanguageModel;
use super::sampler::{Sampler, Sampling};
use super::state::DecodeState;
use crate::{ModelError, Parameters};

/// How a text goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GenerateOptions {
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Of the random choice.
    pub seed: u64,
    /// Tokens at most.
    pub max_new_tokens: usize,
    /// Stop at a token that ends a text (`eos_token_id`).
    pub stop_at_end: bool,
}

impl GenerateOptions {
    /// The likeliest token each time, until the text ends.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self {
            sampling: Sampling::Greedy,
            seed: 0,
            max_new_tokens,
            stop_at_end: true,
        }
    }
}

/// Why a text stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The model ended it.
    End,
    /// `max_new_tokens` are there.
    Length,
    /// A transformer is at its last position (`max_position_embeddings`).
    Positions,
    /// `on_token` asked for it.
    Asked,
}

/// A text that a model wrote.
#[derive(Debug, Clone)]
pub struct Generation {
    /// The tokens after the prompt, the one that ended the text included.
    pub tokens: Vec<u32>,
    /// Why no more.
    pub stop: Stop,
    /// What the model remembers: of the prompt and all tokens but the last. None where there was nothing to run.
    pub state: Option<DecodeState>,
}

/// A text under way, one token at a time: for those who have other things to do in between, as a browser has.
#[derive(Debug)]
pub struct Continuation {
    model: LanguageModel,
    sampler: Sampler,
    options: GenerateOptions,
    tokens: Vec<u32>,
    stop: Option<Stop>,
    /// Of the prompt, until the first token is chosen by them.
    first: Option<Tensor<2>>,
    state: Option<DecodeState>,
}

impl Continuation {
    /// The next token; None when the text has stopped.
    ///
    /// # Errors
    /// [`ModelError::Device`] when logits cannot be read; [`ModelError::NotFinite`] when they are no numbers. The text
    /// cannot go on after either.
    pub async fn next(&mut self) -> Result<Option<u32>, ModelError> {
        let (None, Some(state)) = (self.stop, &mut self.state) else {
            return Ok(None);
        };
        let logits = match (self.first.take(), self.tokens.last()) {
            (Some(logits), _) => logits,
            (None, Some(&token)) => {
                let next = TensorData::new(vec![token as i64], [1]);
                let next = Tensor::from_data(next, &self.model.device());
                self.model.step(next, state)
            }
            (None, None) => return Ok(None),
        };
        let token =
            self.sampler
                .pick(&read(logits).await?)
                .ok_or_else(|| ModelError::NotFinite {
                    what: format!("the logits after {} tokens", state.tokens()),
                })?;
        self.tokens.push(token);
        let config = &self.model.config;
        let most = config.max_length();
        if self.options.stop_at_end && config.eos_token_ids.contains(&token) {
            self.stop = Some(Stop::End);
        } else if self.tokens.len() == self.options.max_new_tokens {
            self.stop = Some(Stop::Length);
        } else if most.is_some_and(|most| state.tokens() == most) {
            self.stop = Some(Stop::Positions);
        }
        Ok(Some(token))
    }

    /// Why there are no more tokens; None while there may be.
    pub fn stop(&self) -> Option<Stop> {
        self.stop
    }

    /// The tokens after the prompt so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// What the model remembers: of the prompt and all tokens but the last. None where there was nothing to run.
    pub fn state(&self) -> Option<&DecodeState> {
        self.state.as_ref()
    }
}

impl LanguageModel {
    /// Runs a prompt, to be continued token by token with [`Continuation::next`]. Nothing is read from the device yet.
    ///
    /// # Errors
    /// [`ModelError::Input`] when the prompt is empty, holds a token that the model does not have, or is longer than a
    /// transformer's `max_position_embeddings`; [`ModelError::Config`] for sampling options out of range.
    pub fn continuation(
        &self,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<Continuation, ModelError> {
        let sampler = Sampler::new(options.sampling, options.seed)?;
        self.validate_sample(0, prompt)?;
        // Handles only: nothing is copied.
        let model = self.clone();
        let model = match self.device().is_autodiff() {
            true => model.frozen(),
            false => model,
        };
        let nothing = options.max_new_tokens == 0;
        let (first, state) = match nothing {
            true => (None, None),
            false => {
                let ids: Vec<i64> = prompt.iter().map(|&id| id as i64).collect();
                let ids = TensorData::new(ids, [1, prompt.len()]);
                let (logits, state) = model.prefill(Tensor::from_data(ids, &model.device()));
                (Some(logits), Some(state))
            }
        };
        Ok(Continuation {
            model,
            sampler,
            options: *options,
            tokens: Vec::new(),
            stop: nothing.then_some(Stop::Length),
            first,
            state,
        })
    }

    /// Continues a prompt. `on_token` sees each token as it comes and may break off.
    ///
    /// Async because a browser can read from a device in no other way; native callers use `caldera_shaders::block_on`.
    ///
    /// # Errors
    /// Those of [`LanguageModel::continuation`] and [`Continuation::next`].
    pub async fn generate(
        &self,
        prompt: &[u32],
        options: &GenerateOptions,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        let mut text = self.continuation(prompt, options)?;
        let mut asked = false;
        while !asked {
            let Some(token) = text.next().await? else {
                break;
            };
            asked = on_token(token).is_break();
        }
        let stop = match text.stop {
            Some(Stop::End) => Stop::End,
            _ if asked => Stop::Asked,
            // Without having been asked, a text has stopped by itself.
            stop => stop.unwrap_or(Stop::Length),
        };
        Ok(Generation {
            tokens: text.tokens,
            stop,
            state: text.state,
        })
    }
}

/// Logits [1, V] on the host.
async fn read(logits: Tensor<2>) -> Result<Vec<f32>, ModelError> {
    let failed = |detail: String| ModelError::Device {
        tensor: "logits".to_string(),
        detail,
    };
    let data = logits.into_data_async().await;
    let data = data.map_err(|error| failed(format!("{error:?}")))?;
    data.try_to_vec()
        .map_err(|error| failed(format!("{error:?}")))
}
