//! Classification of texts: the family of [`TextModel`].

use std::path::Path;

use anyhow::{Result, bail};
use burn::tensor::{Device, Tensor};
use caldera_models::{Architecture, TextModel};
use caldera_shaders::Lengths;

use super::evaluate::{BATCH, evaluate_model};
use super::family::{Asked, Counts, Family, Output};
use crate::batches::{Batch, Encoded};
use crate::losses::{LogitsMean, cross_entropy};
use crate::metrics::{Observer, Score};
use crate::model::Model;

/// The examples of a run.
pub(super) struct TextTask {
    /// Labelled examples, then texts without labels.
    pub train: Vec<Encoded>,
    /// How many of `train` have labels.
    pub labelled: usize,
    pub valid: Vec<Encoded>,
    pub pad_token_id: u32,
    pub pad_to_multiple: usize,
}

impl Family for TextTask {
    type Model = TextModel;
    type Batch = Batch;

    fn lengths(&self) -> Vec<usize> {
        self.train.iter().map(|example| example.ids.len()).collect()
    }

    fn counts(&self) -> Counts {
        Counts {
            labelled: self.labelled,
            unlabelled: self.train.len() - self.labelled,
            valid: self.valid.len(),
        }
    }

    fn batch(&self, indices: &[usize], _draw: u64, device: &Device) -> Batch {
        let rows: Vec<&Encoded> = indices.iter().map(|index| &self.train[*index]).collect();
        Batch::new(&rows, self.pad_token_id, self.pad_to_multiple, device)
    }

    fn size(&self, batch: &Batch) -> (usize, usize) {
        (batch.len(), batch.positions())
    }

    fn state_lengths<'a>(&self, batch: &'a Batch) -> &'a Lengths {
        &batch.input.lengths
    }

    fn logits_mean<'a>(&self, _batch: &'a Batch) -> LogitsMean<'a> {
        LogitsMean::Batch
    }

    fn forward(&self, model: &TextModel, batch: &Batch, asked: &Asked) -> Output {
        let output = model.forward(&batch.input, &asked.options());
        Output {
            hidden_states: output.hidden_states,
            logits: output.logits.map(|logits| logits.unsqueeze_dim::<3>(1)),
        }
    }

    fn task_loss(&self, logits: Tensor<3>, batch: &Batch) -> Option<Tensor<1>> {
        cross_entropy(logits.squeeze_dim::<2>(1), &batch.labels)
    }

    fn eval_batch_size(&self, _model: &TextModel) -> usize {
        BATCH
    }

    fn evaluate(
        &self,
        model: &TextModel,
        batch_size: usize,
        observer: &mut dyn Observer,
    ) -> Result<Score> {
        let outcome = evaluate_model(model, &self.valid, self.pad_token_id, batch_size, observer)?;
        let (loss, accuracy) = outcome.score(&self.valid);
        Ok(Score {
            loss,
            accuracy,
            ..Score::default()
        })
    }

    fn guiding(&self, folder: &Path, student: &TextModel, device: &Device) -> Result<TextModel> {
        guiding(folder, student, device)
    }
}

/// A teacher that is not trained: frozen, with a head for the same labels and states of the same shape.
pub(super) fn guiding(folder: &Path, student: &TextModel, device: &Device) -> Result<TextModel> {
    let teacher = <TextModel as Model>::load(folder, device)?.frozen();
    if teacher.config.architecture == Architecture::Bare {
        bail!(
            "{}: a teacher needs a classification head; fine-tune it first",
            folder.display()
        );
    }
    let facts = |model: &TextModel| {
        (
            model.config.hidden_size,
            model.config.num_hidden_layers,
            model.config.num_labels(),
        )
    };
    if facts(&teacher) != facts(student) {
        bail!(
            "{}: (hidden_size, layers, labels): expected {:?} as the student has, found {:?}",
            folder.display(),
            facts(student),
            facts(&teacher)
        );
    }
    Ok(teacher)
}
