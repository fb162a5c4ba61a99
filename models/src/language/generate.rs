//! Text from a prompt.

use std::ops::ControlFlow;

use burn::tensor::{Int, Tensor, TensorData};

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

impl LanguageModel {
    /// Continues a prompt. `on_token` sees each token as it comes and may break off.
    ///
    /// Async because a browser can read from a device in no other way; native callers use `caldera_shaders::block_on`.
    ///
    /// # Errors
    /// [`ModelError::Input`] when the prompt is empty, holds a token that the model does not have, or is longer than a
    /// transformer's `max_position_embeddings`; [`ModelError::Config`] for sampling options out of range;
    /// [`ModelError::Device`] when logits cannot be read; [`ModelError::NotFinite`] when they are no numbers.
    pub async fn generate(
        &self,
        prompt: &[u32],
        options: &GenerateOptions,
        on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    ) -> Result<Generation, ModelError> {
        let mut sampler = Sampler::new(options.sampling, options.seed)?;
        self.validate_sample(0, prompt)?;
        let mut tokens = Vec::new();
        if options.max_new_tokens == 0 {
            return Ok(Generation {
                tokens,
                stop: Stop::Length,
                state: None,
            });
        }
        // Handles only: nothing is copied.
        let frozen;
        let model = if self.device().is_autodiff() {
            frozen = self.clone().frozen();
            &frozen
        } else {
            self
        };
        let device = model.device();
        let ids: Vec<i64> = prompt.iter().map(|&id| id as i64).collect();
        let ids = TensorData::new(ids, [1, prompt.len()]);
        let ids = Tensor::<2, Int>::from_data(ids, &device);
        let (mut logits, mut state) = model.prefill(ids);
        let stop = loop {
            let token =
                sampler
                    .pick(&read(logits).await?)
                    .ok_or_else(|| ModelError::NotFinite {
                        what: format!("the logits after {} tokens", state.tokens()),
                    })?;
            tokens.push(token);
            let asked = on_token(token).is_break();
            if options.stop_at_end && model.config.eos_token_ids.contains(&token) {
                break Stop::End;
            }
            if asked {
                break Stop::Asked;
            }
            if tokens.len() == options.max_new_tokens {
                break Stop::Length;
            }
            if model
                .config
                .max_length()
                .is_some_and(|most| state.tokens() == most)
            {
                break Stop::Positions;
            }
            let next = TensorData::new(vec![token as i64], [1]);
            logits = model.step(Tensor::from_data(next, &device), &mut state);
        };
        Ok(Generation {
            tokens,
            stop,
            state: Some(state),
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
