//! What tells one family of models from another in a run: its data, its forward pass, its task.

use std::path::Path;

use anyhow::Result;
use burn::tensor::{Device, Tensor};
use caldera_models::{ForwardOptions, Parameters};
use caldera_shaders::Lengths;

use crate::config::{RunConfig, TrainConfig};
use crate::losses::LogitsMean;
use crate::metrics::{Observer, Score};
use crate::model::Model;

/// What is asked of a forward pass.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Embeddings and every layer.
    pub hidden_states: bool,
    /// Logits. Over a vocabulary they are by far the largest tensor of a pass; a family whose head costs nothing may give
    /// them in any case.
    pub logits: bool,
    /// Dropout, and masked frames.
    pub dropout: bool,
}

impl Asked {
    /// What the models call it.
    pub fn options(&self) -> ForwardOptions {
        ForwardOptions {
            hidden_states: self.hidden_states,
            dropout: self.dropout,
        }
    }
}

/// What a model says of a batch.
pub(super) struct Output {
    /// Embeddings and every layer, each \[B, L, D\]; empty unless asked for.
    pub hidden_states: Vec<Tensor<3>>,
    /// \[B, L, V\]; of a classifier \[B, 1, C\]; None for a model without a head, or where they were not asked for.
    pub logits: Option<Tensor<3>>,
}

/// How many examples a run has.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub labelled: usize,
    pub unlabelled: usize,
    pub valid: usize,
}

/// Data and task of a run, for the models of one family.
pub(super) trait Family {
    type Model: Model;
    type Batch;

    /// Positions of every training example: batches are made of similar ones.
    fn lengths(&self) -> Vec<usize>;
    /// Examples by kind.
    fn counts(&self) -> Counts;
    /// Positions of a batch, padding included, at most; None where only its examples count.
    fn batch_positions(&self, _train: &TrainConfig) -> Option<usize> {
        None
    }
    /// A model with what is to be trained of it, on the autodiff device.
    fn trainable(&self, model: Self::Model, _config: &RunConfig) -> Self::Model {
        model.trainable()
    }
    /// Training examples side by side. `draw` decides what is random in them.
    fn batch(&self, indices: &[usize], draw: u64, device: &Device) -> Self::Batch;
    /// Rows of a batch, and its positions with padding.
    fn size(&self, batch: &Self::Batch) -> (usize, usize);
    /// Unpadded positions of the hidden states.
    fn state_lengths<'a>(&self, batch: &'a Self::Batch) -> &'a Lengths;
    /// What the divergence of the logits is averaged over.
    fn logits_mean<'a>(&self, batch: &'a Self::Batch) -> LogitsMean<'a>;
    /// The forward pass.
    fn forward(&self, model: &Self::Model, batch: &Self::Batch, asked: &Asked) -> Output;
    /// The task's own loss \[1\]; None where the batch has no labels.
    fn task_loss(&self, logits: Tensor<3>, batch: &Self::Batch) -> Option<Tensor<1>>;
    /// Examples in a forward pass of evaluation, where the configuration does not say.
    fn eval_batch_size(&self, model: &Self::Model) -> usize;
    /// How a model (frozen) does on the validation data.
    fn evaluate(
        &self,
        model: &Self::Model,
        batch_size: usize,
        observer: &mut dyn Observer,
    ) -> Result<Score>;
    /// A frozen teacher from `folder` whose states and answers fit those of `student`.
    fn guiding(&self, folder: &Path, student: &Self::Model, device: &Device)
    -> Result<Self::Model>;
}
