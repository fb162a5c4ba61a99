//! Speech models: Wav2Vec2 in both of its styles as transformers defines it, bare, with a CTC head or a classifier of clips,
//! and its student with bidirectional Mamba-2 mixers in place of attention.
//!
//! Dropout is applied where transformers applies it, but for attention probabilities, which are never held in memory.
//! Layers are not dropped (`layerdrop`): a guided student needs the states of all of them.

mod batch;
mod build;
mod config;
mod config_json;
pub mod extractor;
mod features;
mod forward;
mod layers;
mod mixer;
mod positional;
#[cfg(test)]
mod tests;
mod validate;
pub mod vocabulary;

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Device;

pub use batch::SpeechBatch;
pub use config::{
    CtcReduction, FeatureLayer, FeatureNorm, SpeechArchitecture, SpeechConfig, SpeechMixer,
};
pub use extractor::FeatureExtractor;
pub use forward::SpeechOutput;
pub(crate) use forward::Stage;
pub use vocabulary::CtcVocabulary;

use crate::checkpoint::DeviceTensors;
use crate::layers::{
    ParameterMut, ParameterRef, Parameters, Parts, Random, Source, Stored, Tensors, Walk, dotted,
    stored_name, stored_tensors,
};
use crate::{Checkpoint, Mamba2Config, ModelError};
use build::Builder;
use layers::{Encoder, Head};

/// The prefix of the encoder's names in a model with a head.
const PREFIX: &str = "wav2vec2";

/// A Wav2Vec2 or its student.
#[derive(Debug, Clone)]
pub struct SpeechModel {
    /// `config.json`.
    pub config: SpeechConfig,
    /// Small files that belong to the model: `preprocessor_config.json`, `vocab.json` and their like.
    pub files: Arc<BTreeMap<String, Vec<u8>>>,
    /// [`PREFIX`], or nothing in front of the encoder's names, as the weights had it.
    prefix: String,
    encoder: Encoder,
    head: Option<Head>,
}

impl SpeechModel {
    /// Builds the model that a folder holds. Tensors that it does not need (quantizers and heads for other tasks) are left
    /// aside: a checkpoint of pretraining gives its bare encoder.
    ///
    /// # Errors
    /// [`ModelError::Config`], [`ModelError::MissingTensor`], [`ModelError::WrongShape`] or [`ModelError::BadTensor`].
    pub fn from_checkpoint(checkpoint: &Checkpoint, device: &Device) -> Result<Self, ModelError> {
        Self::from_tensors(checkpoint, &checkpoint.tensors, device)
    }

    /// The same with tensors that are already on `device`.
    ///
    /// # Errors
    /// Those of [`SpeechModel::from_checkpoint`].
    pub fn from_device(
        checkpoint: &Checkpoint,
        tensors: &DeviceTensors,
        device: &Device,
    ) -> Result<Self, ModelError> {
        Self::from_tensors(checkpoint, tensors, device)
    }

    fn from_tensors(
        checkpoint: &Checkpoint,
        tensors: &dyn Tensors,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let config =
            SpeechConfig::from_value(checkpoint.config.clone(), &checkpoint.config_file())?;
        let first = "feature_projection.projection.weight";
        let prefix = ["", PREFIX]
            .into_iter()
            .find(|prefix| stored_name(tensors, &dotted(prefix, first)).is_some());
        let prefix = prefix.unwrap_or(PREFIX).to_string();
        let masked = stored_name(tensors, &dotted(&prefix, "masked_spec_embed")).is_some();
        let files = Arc::new(checkpoint.files.clone());
        let file = checkpoint.weights_file();
        Self::build(
            config,
            prefix,
            masked,
            files,
            &mut Stored { tensors, file },
            device,
        )
    }

    /// Reads a Hugging Face folder.
    ///
    /// # Errors
    /// Those of [`Checkpoint::read`] and [`SpeechModel::from_checkpoint`].
    #[cfg(not(target_family = "wasm"))]
    pub fn load(dir: &std::path::Path, device: &Device) -> Result<Self, ModelError> {
        Self::from_checkpoint(&Checkpoint::read(dir)?, device)
    }

    /// A fresh model as transformers initialises it; mixers with states as their source starts them. Each parameter follows
    /// from the seed and its name, on the host, so that every device gets the same.
    pub fn random(config: SpeechConfig, seed: u64, device: &Device) -> Self {
        let prefix = match config.architecture {
            SpeechArchitecture::Bare => "",
            _ => PREFIX,
        };
        let source = &mut Random { seed };
        let files = Arc::default();
        Self::build(config, prefix.to_string(), true, files, source, device)
            .expect("random parameters have the shapes that are asked for")
    }

    fn build(
        config: SpeechConfig,
        prefix: String,
        masked: bool,
        files: Arc<BTreeMap<String, Vec<u8>>>,
        source: &mut dyn Source,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let plain = device.clone().without_autodiff();
        let mut builder = Builder {
            config: &config,
            parts: Parts {
                source,
                device: &plain,
            },
        };
        let encoder = builder.encoder(&prefix, masked)?;
        let head = builder.head()?;
        let model = Self {
            config,
            files,
            prefix,
            encoder,
            head,
        };
        Ok(if device.is_autodiff() {
            model.to_device(device)
        } else {
            model
        })
    }

    /// Puts a fresh CTC head over `vocab_size` characters on the encoder, in place of whatever stands there.
    pub fn with_ctc_head(mut self, vocab_size: usize, seed: u64) -> Self {
        self.config.vocab_size = vocab_size;
        self.with_head(SpeechArchitecture::Ctc, seed)
    }

    /// Puts a fresh classifier over `labels` on the encoder, in place of whatever stands there.
    pub fn with_classifier(mut self, labels: Vec<String>, seed: u64) -> Self {
        self.config.labels = labels;
        self.with_head(SpeechArchitecture::SequenceClassification, seed)
    }

    fn with_head(mut self, architecture: SpeechArchitecture, seed: u64) -> Self {
        let device = self.device();
        self.config.architecture = architecture;
        self.prefix = PREFIX.to_string();
        let head = self
            .builder(&mut Random { seed }, &device.clone().without_autodiff())
            .head();
        self.head = head.expect("random parameters have the shapes that are asked for");
        if device.is_autodiff() {
            self.to_device(&device)
        } else {
            self
        }
    }

    fn builder<'a>(&'a self, source: &'a mut dyn Source, device: &'a Device) -> Builder<'a> {
        Builder {
            config: &self.config,
            parts: Parts { source, device },
        }
    }

    /// Fresh bidirectional Mamba-2 mixers in place of whatever mixes the frames; all on the plain device.
    pub(crate) fn with_bimamba2(
        mut self,
        mamba: Mamba2Config,
        seed: u64,
    ) -> Result<Self, ModelError> {
        self = self.frozen();
        let mixer = SpeechMixer::BiMamba2(mamba);
        self.config.mixer = mixer;
        let device = self.device();
        let mut source = Random { seed };
        let mut builder = self.builder(&mut source, &device);
        let mixers = (0..self.config.num_hidden_layers)
            // Numbered without the encoder's prefix: a bare encoder and one with a head start alike.
            .map(|i| builder.mixer(&format!("encoder.layers.{i}"), mixer))
            .collect::<Result<Vec<_>, _>>()?;
        for (layer, mixer) in self.encoder.layers.iter_mut().zip(mixers) {
            layer.mixer = mixer;
        }
        Ok(self)
    }

    /// The folder to save: every parameter under its Hugging Face name as F32, `config.json`, the files that the model was
    /// loaded with. Reads from the device, synchronously: not in a browser.
    ///
    /// # Errors
    /// [`ModelError::Device`] when a value cannot be read back.
    pub fn to_checkpoint(&self) -> Result<Checkpoint, ModelError> {
        Ok(Checkpoint {
            config: self.config.to_value(),
            tensors: stored_tensors(self)?,
            tokenizer: None,
            files: self.files.as_ref().clone(),
            source: String::new(),
        })
    }

    /// Gives the model a file to save with it, such as `vocab.json`.
    pub fn set_file(&mut self, name: &str, bytes: Vec<u8>) {
        Arc::make_mut(&mut self.files).insert(name.to_string(), bytes);
    }

    /// [H, H / groups, K]: what the weight norm makes of the positional convolution.
    pub(crate) fn positional_weight(&self) -> burn::tensor::Tensor<3> {
        self.encoder.positional.weight()
    }

    /// The device that holds the parameters, with autodiff if they have it.
    pub fn device(&self) -> Device {
        self.encoder.layer_norm.weight.device()
    }
}

impl Parameters for SpeechModel {
    fn visit(&self, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
        self.encoder.walk(&self.prefix, visit);
        self.head.walk("", visit);
    }

    fn visit_mut(&mut self, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        self.encoder.walk_mut(&self.prefix, visit);
        self.head.walk_mut("", visit);
    }
}
