//! Language models: GPT-NeoX (Pythia) as transformers defines it, its student with Mamba mixers in place of attention,
//! and the pure Mamba and Mamba-2.
//!
//! * [`LanguageModel::forward`]: whole sequences, differentiable;
//! * [`LanguageModel::prefill`] and [`LanguageModel::step`]: token by token, with a [`DecodeState`];
//! * [`LanguageModel::generate`]: text, greedy or sampled; [`LanguageModel::continuation`]: the same token by token.
//!
//! Dropout (`hidden_dropout`) is applied where transformers applies it: to the embeddings, the mixer's output and the
//! feed-forward output. Dropout of attention probabilities is not applied: they are never held in memory.

mod attention;
mod batch;
mod build;
mod config;
mod config_json;
mod decode;
mod forward;
mod generate;
mod layers;
mod rotary;
mod sampler;
mod state;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::Arc;

use burn::tensor::Device;

pub use batch::LanguageBatch;
pub use config::{GptNeoXConfig, LanguageArchitecture, LanguageConfig, LanguageMixer};
pub use forward::{LanguageOutput, LanguageStates};
pub use generate::{Continuation, GenerateOptions, Generation, Stop};
pub use sampler::Sampling;
pub use state::DecodeState;
pub(crate) use state::LayerState;

use crate::checkpoint::DeviceTensors;
use crate::layers::{
    BINDING_BYTES, ParameterMut, ParameterRef, Parameters, Parts, Random, Source, Stored, Table,
    Tensors, Walk, stored_tensors,
};
use crate::{Checkpoint, MambaConfig, ModelError};
use build::Builder;
use layers::{FinalNorm, Layer, TokenMixer};

/// What the parts are called in the file.
pub(crate) struct Names {
    pub embeddings: &'static str,
    pub layers: &'static str,
    pub final_norm: &'static str,
    pub head: &'static str,
}

const GPT_NEOX: Names = Names {
    embeddings: "gpt_neox.embed_in.weight",
    layers: "gpt_neox.layers",
    final_norm: "gpt_neox.final_layer_norm",
    head: "embed_out.weight",
};

const MAMBA: Names = Names {
    embeddings: "backbone.embeddings.weight",
    layers: "backbone.layers",
    final_norm: "backbone.norm_f",
    head: "lm_head.weight",
};

impl LanguageArchitecture {
    fn names(&self) -> &'static Names {
        match self {
            Self::GptNeoX(_) => &GPT_NEOX,
            Self::Mamba => &MAMBA,
        }
    }
}

/// Whether a tensor of a language model's file is a token table: those are held in blocks of rows, so they may be larger than a
/// device binds at once.
pub fn is_token_table(tensor: &str) -> bool {
    let mut tables = [GPT_NEOX, MAMBA]
        .into_iter()
        .flat_map(|names| [names.embeddings, names.head]);
    tables.any(|name| name == tensor)
}

/// A causal language model: a GPT-NeoX with softmax attention or with Mamba mixers, or a pure Mamba or Mamba-2.
#[derive(Debug, Clone)]
pub struct LanguageModel {
    /// `config.json`.
    pub config: LanguageConfig,
    embeddings: Table,
    layers: Vec<Layer>,
    final_norm: FinalNorm,
    /// None where the embeddings are the head too.
    head: Option<Table>,
    /// `tokenizer.json`, carried along so that a saved folder is complete.
    tokenizer: Option<Arc<Vec<u8>>>,
}

impl LanguageModel {
    /// Builds the model that a folder holds, its token tables in blocks of at most [`BINDING_BYTES`]. Tensors that it
    /// does not need (masks and frequencies in old checkpoints) are left aside.
    ///
    /// # Errors
    /// [`ModelError::Config`], [`ModelError::MissingTensor`], [`ModelError::WrongShape`] or [`ModelError::BadTensor`].
    pub fn from_checkpoint(checkpoint: &Checkpoint, device: &Device) -> Result<Self, ModelError> {
        Self::from_checkpoint_in_blocks(checkpoint, BINDING_BYTES, device)
    }

    /// The same with token tables in blocks of at most `block_bytes` (but a row at least).
    ///
    /// # Errors
    /// Those of [`LanguageModel::from_checkpoint`].
    pub fn from_checkpoint_in_blocks(
        checkpoint: &Checkpoint,
        block_bytes: usize,
        device: &Device,
    ) -> Result<Self, ModelError> {
        Self::from_tensors(checkpoint, &checkpoint.tensors, block_bytes, device)
    }

    /// [`LanguageModel::from_checkpoint`] with tensors that are already on `device`.
    ///
    /// # Errors
    /// Those of [`LanguageModel::from_checkpoint`].
    pub fn from_device(
        checkpoint: &Checkpoint,
        tensors: &DeviceTensors,
        device: &Device,
    ) -> Result<Self, ModelError> {
        Self::from_tensors(checkpoint, tensors, BINDING_BYTES, device)
    }

    fn from_tensors(
        checkpoint: &Checkpoint,
        tensors: &dyn Tensors,
        block_bytes: usize,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let config =
            LanguageConfig::from_value(checkpoint.config.clone(), &checkpoint.config_file())?;
        let tokenizer = checkpoint.tokenizer.clone().map(Arc::new);
        let file = checkpoint.weights_file();
        let mut source = Stored { tensors, file };
        Self::build(config, tokenizer, &mut source, block_bytes, device)
    }

    /// Reads a Hugging Face folder.
    ///
    /// # Errors
    /// Those of [`Checkpoint::read`] and [`LanguageModel::from_checkpoint`].
    #[cfg(not(target_family = "wasm"))]
    pub fn load(dir: &std::path::Path, device: &Device) -> Result<Self, ModelError> {
        Self::from_checkpoint(&Checkpoint::read(dir)?, device)
    }

    /// A fresh model: matrices and tables N(0, `initializer_range`), biases 0, norms 1; Mamba mixers as their source
    /// starts them. Each parameter follows from the seed and its name, on the host, so that every device gets the same.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a model of type mamba without a Mamba mixer.
    pub fn random(config: LanguageConfig, seed: u64, device: &Device) -> Result<Self, ModelError> {
        Self::build(config, None, &mut Random { seed }, BINDING_BYTES, device)
    }

    fn build(
        config: LanguageConfig,
        tokenizer: Option<Arc<Vec<u8>>>,
        source: &mut dyn Source,
        block_bytes: usize,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let plain = device.clone().without_autodiff();
        let names = config.architecture.names();
        let mut builder = Builder {
            config: &config,
            parts: Parts {
                source,
                device: &plain,
            },
            block_bytes,
        };
        let embeddings = builder.table(names.embeddings)?;
        let layers = (0..config.num_hidden_layers)
            .map(|i| builder.layer(i, names))
            .collect::<Result<_, _>>()?;
        let final_norm = builder.final_norm(names.final_norm)?;
        let head = match config.tie_word_embeddings {
            true => None,
            false => Some(builder.table(names.head)?),
        };
        let model = Self {
            config,
            embeddings,
            layers,
            final_norm,
            head,
            tokenizer,
        };
        Ok(if device.is_autodiff() {
            model.to_device(device)
        } else {
            model
        })
    }

    /// Fresh Mamba mixers in place of whatever mixes the positions of a GPT-NeoX; all on the plain device.
    pub(crate) fn with_mamba(mut self, mamba: MambaConfig, seed: u64) -> Result<Self, ModelError> {
        self = self.frozen();
        let mixer = LanguageMixer::Mamba(mamba);
        self.config.mixer = mixer;
        let device = self.device();
        let names = self.config.architecture.names();
        let mut builder = Builder {
            config: &self.config,
            parts: Parts {
                source: &mut Random { seed },
                device: &device,
            },
            block_bytes: BINDING_BYTES,
        };
        for (i, layer) in self.layers.iter_mut().enumerate() {
            if let Layer::GptNeoX(layer) = layer {
                let name = format!("{}.{i}.attention.mamba", names.layers);
                layer.mixer = TokenMixer::StateSpace(builder.state_space(&name, mixer)?);
            }
        }
        Ok(self)
    }

    /// The folder to save: every parameter under its Hugging Face name as F32, `config.json`, the tokenizer
    /// that the model was loaded with. Reads from the device, synchronously: not in a browser.
    ///
    /// # Errors
    /// [`ModelError::Device`] when a value cannot be read back.
    pub fn to_checkpoint(&self) -> Result<Checkpoint, ModelError> {
        Ok(Checkpoint {
            config: self.config.to_value(),
            tensors: stored_tensors(self)?,
            tokenizer: self.tokenizer.as_deref().cloned(),
            files: Default::default(),
            source: String::new(),
        })
    }

    /// The bytes of the `tokenizer.json` that the model was loaded with.
    pub fn tokenizer_json(&self) -> Option<&[u8]> {
        self.tokenizer.as_deref().map(Vec::as_slice)
    }

    /// Gives the model the `tokenizer.json` to save with it.
    pub fn set_tokenizer_json(&mut self, bytes: Option<Vec<u8>>) {
        self.tokenizer = bytes.map(Arc::new);
    }

    /// The device that holds the parameters, with autodiff if they have it.
    pub fn device(&self) -> Device {
        self.embeddings.device()
    }
}

impl Parameters for LanguageModel {
    fn visit(&self, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
        let names = self.config.architecture.names();
        self.embeddings.walk(names.embeddings, visit);
        self.layers.walk(names.layers, visit);
        self.final_norm.walk(names.final_norm, visit);
        self.head.walk(names.head, visit);
    }

    fn visit_mut(&mut self, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        let names = self.config.architecture.names();
        self.embeddings.walk_mut(names.embeddings, visit);
        self.layers.walk_mut(names.layers, visit);
        self.final_norm.walk_mut(names.final_norm, visit);
        self.head.walk_mut(names.head, visit);
    }
}
