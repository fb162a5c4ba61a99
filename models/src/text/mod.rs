//! Text encoders: BERT and RoBERTa as transformers defines them, and their Linformer students.
//!
//! Dropout (`hidden_dropout_prob`) is applied where transformers applies it: to the embeddings, the attention
//! output, the feed-forward output, and before the classifier. Dropout of attention probabilities
//! (`attention_probs_dropout_prob`) is not applied: the probabilities are never held in memory.

mod batch;
mod build;
mod config;
mod config_json;
mod forward;
mod layers;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::Arc;

use burn::tensor::Device;

pub use crate::layers::{Activation, ParameterMut, ParameterRef};
pub use batch::TextBatch;
pub use config::{Architecture, Family, LinformerConfig, Mixer, Sharing, TextConfig};
pub use forward::{ForwardOptions, TextOutput};
pub(crate) use layers::Encoder;

use crate::checkpoint::DeviceTensors;
use crate::layers::{
    Parameters, Parts, Random, Source, Stored, Tensors, Walk, dotted, stored_name, stored_tensors,
};
use crate::{Checkpoint, ModelError};
use build::Builder;
use layers::Head;

/// Whether a tensor of a text model's file is its token table, which is held in blocks of rows like those of
/// [`language`](crate::language::is_token_table).
pub fn is_token_table(tensor: &str) -> bool {
    tensor.ends_with("embeddings.word_embeddings.weight")
}

/// A BERT or RoBERTa, bare or for sequence classification, with softmax or Linformer attention.
#[derive(Debug, Clone)]
pub struct TextModel {
    /// `config.json`.
    pub config: TextConfig,
    /// "bert", "roberta", or nothing in front of the encoder's names, as the weights had it.
    prefix: String,
    pub(crate) encoder: Encoder,
    head: Option<Head>,
    /// `tokenizer.json`, carried along so that a saved folder is complete.
    tokenizer: Option<Arc<Vec<u8>>>,
}

impl TextModel {
    /// Builds the model that a folder holds. Tensors that it does not need (position ids, heads for other
    /// tasks) are left aside: a checkpoint of a masked language model gives its bare encoder.
    ///
    /// # Errors
    /// [`ModelError::Config`], [`ModelError::MissingTensor`], [`ModelError::WrongShape`] or [`ModelError::BadTensor`].
    pub fn from_checkpoint(checkpoint: &Checkpoint, device: &Device) -> Result<Self, ModelError> {
        Self::from_tensors(checkpoint, &checkpoint.tensors, device)
    }

    /// The same with tensors that are already on `device`.
    ///
    /// # Errors
    /// Those of [`TextModel::from_checkpoint`].
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
        let mut config =
            TextConfig::from_value(checkpoint.config.clone(), &checkpoint.config_file())?;
        let prefix = ["", "bert", "roberta"]
            .into_iter()
            .find(|prefix| {
                let table = dotted(prefix, "embeddings.word_embeddings.weight");
                tensors.describe(&table).is_some()
            })
            .unwrap_or(match config.architecture {
                Architecture::Bare => "",
                Architecture::SequenceClassification => config.family.model_type(),
            });
        let classifier = match config.family {
            Family::Bert => "classifier.weight",
            Family::Roberta => "classifier.out_proj.weight",
        };
        // The head's own size wins over a config.json that names no labels.
        if config.architecture == Architecture::SequenceClassification
            && checkpoint
                .config
                .get("id2label")
                .is_none_or(serde_json::Value::is_null)
            && checkpoint.config.get("num_labels").is_none()
            && let Some((_, &[classes, _])) = tensors.describe(classifier)
        {
            config.labels = (0..classes).map(|i| format!("LABEL_{i}")).collect();
        }
        let has_head = config.architecture == Architecture::SequenceClassification;
        let pooler = match (config.family, has_head) {
            (Family::Bert, true) => true,
            (Family::Roberta, true) => false,
            _ => stored_name(tensors, &dotted(prefix, "pooler.dense.weight")).is_some(),
        };
        let tokenizer = checkpoint.tokenizer.clone().map(Arc::new);
        let file = checkpoint.weights_file();
        let mut source = Stored { tensors, file };
        Self::build(
            config,
            prefix.to_string(),
            pooler,
            tokenizer,
            &mut source,
            device,
        )
    }

    /// Reads a Hugging Face folder.
    ///
    /// # Errors
    /// Those of [`Checkpoint::read`] and [`TextModel::from_checkpoint`].
    #[cfg(not(target_family = "wasm"))]
    pub fn load(dir: &std::path::Path, device: &Device) -> Result<Self, ModelError> {
        Self::from_checkpoint(&Checkpoint::read(dir)?, device)
    }

    /// A fresh model as transformers initialises it: matrices and tables N(0, `initializer_range`), biases 0,
    /// norms 1, the padding rows 0; projections N(0, 1). Each parameter follows from the seed and its name, on
    /// the host, so that every device gets the same.
    pub fn random(config: TextConfig, seed: u64, device: &Device) -> Self {
        let has_head = config.architecture == Architecture::SequenceClassification;
        let prefix = if has_head {
            config.family.model_type()
        } else {
            ""
        };
        let pooler = !(config.family == Family::Roberta && has_head);
        let mut source = Random { seed };
        Self::build(
            config,
            prefix.to_string(),
            pooler,
            None,
            &mut source,
            device,
        )
        .expect("random parameters have the shapes that are asked for")
    }

    fn build(
        config: TextConfig,
        prefix: String,
        pooler: bool,
        tokenizer: Option<Arc<Vec<u8>>>,
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
        let encoder = builder.encoder(&prefix, pooler)?;
        let head = match config.architecture {
            Architecture::Bare => None,
            Architecture::SequenceClassification => Some(builder.head()?),
        };
        let model = Self {
            config,
            prefix,
            encoder,
            head,
            tokenizer,
        };
        Ok(if device.is_autodiff() {
            model.to_device(device)
        } else {
            model
        })
    }

    /// Puts a fresh classifier over `num_labels` classes on the encoder (in place of one that is there), as
    /// transformers initialises it. `id2label` names the classes; None, or a list of another length, numbers them.
    /// A bare encoder's names gain the prefix that transformers gives them; a BERT without a pooler gets a fresh one.
    pub fn with_head(
        mut self,
        num_labels: usize,
        id2label: Option<Vec<String>>,
        seed: u64,
    ) -> Self {
        let device = self.device();
        let plain = device.clone().without_autodiff();
        let named = id2label.filter(|names| names.len() == num_labels);
        self.config.labels =
            named.unwrap_or_else(|| (0..num_labels).map(|i| format!("LABEL_{i}")).collect());
        self.config.architecture = Architecture::SequenceClassification;
        self.prefix = self.config.family.model_type().to_string();
        let mut source = Random { seed };
        let mut builder = Builder {
            config: &self.config,
            parts: Parts {
                source: &mut source,
                device: &plain,
            },
        };
        const SHAPES: &str = "random parameters have the shapes that are asked for";
        self.head = Some(builder.head().expect(SHAPES));
        match self.config.family {
            Family::Bert if self.encoder.pooler.is_none() => {
                self.encoder.pooler = Some(builder.pooler(&self.prefix).expect(SHAPES));
            }
            Family::Bert => {}
            Family::Roberta => self.encoder.pooler = None,
        }
        if device.is_autodiff() {
            self.to_device(&device)
        } else {
            self
        }
    }

    /// The folder to save: every parameter under its Hugging Face name as F32, `config.json`, the tokenizer
    /// that the model was loaded with. Reads from the device, synchronously: not in a browser.
    ///
    /// # Errors
    /// [`ModelError::Device`] when a value cannot be read back.
    pub fn to_checkpoint(&self) -> Result<Checkpoint, ModelError> {
        let tensors = stored_tensors(self)?;
        Ok(Checkpoint {
            config: self.config.to_value(),
            tensors,
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
        self.encoder.embeddings.words.device()
    }

    /// [`Parameters::visit`].
    pub fn visit(&self, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
        Parameters::visit(self, visit);
    }

    /// [`Parameters::visit_mut`].
    pub fn visit_mut(&mut self, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        Parameters::visit_mut(self, visit);
    }

    /// [`Parameters::num_parameters`].
    pub fn num_parameters(&self) -> usize {
        Parameters::num_parameters(self)
    }

    /// [`Parameters::to_device`].
    pub fn to_device(self, device: &Device) -> Self {
        Parameters::to_device(self, device)
    }

    /// [`Parameters::trainable`].
    pub fn trainable(self) -> Self {
        Parameters::trainable(self)
    }

    /// [`Parameters::frozen`].
    pub fn frozen(self) -> Self {
        Parameters::frozen(self)
    }
}

impl Parameters for TextModel {
    fn visit(&self, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
        self.encoder.walk(&self.prefix, visit);
        self.head.walk("classifier", visit);
    }

    fn visit_mut(&mut self, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        self.encoder.walk_mut(&self.prefix, visit);
        self.head.walk_mut("classifier", visit);
    }
}
