//! The next token of running text: the family of [`LanguageModel`].

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Int, Tensor, TensorData};
use caldera_models::{ForwardOptions, LanguageModel, Parameters};
use caldera_shaders::Lengths;

use super::evaluate::{BATCH, EvalOptions, Evaluation};
use super::family::{Asked, Counts, Family, Output};
use super::setup::language::{blocks, tokenizer_of};
use crate::batches::{BlockBatch, Blocks};
use crate::device::select_device;
use crate::losses::{LogitsMean, next_token_loss, next_token_losses};
use crate::metrics::{Observer, Score};
use crate::model::Model;

/// The text of a run.
pub(super) struct LanguageTask {
    pub train: Blocks,
    pub valid: Option<Blocks>,
}

impl Family for LanguageTask {
    type Model = LanguageModel;
    type Batch = BlockBatch;

    fn lengths(&self) -> Vec<usize> {
        self.train.lengths()
    }

    fn counts(&self) -> Counts {
        Counts {
            labelled: self.train.len(),
            unlabelled: 0,
            valid: self.valid.as_ref().map_or(0, Blocks::len),
        }
    }

    fn batch(&self, indices: &[usize], _draw: u64, device: &Device) -> BlockBatch {
        self.train.batch(indices, device)
    }

    fn size(&self, batch: &BlockBatch) -> (usize, usize) {
        batch.size()
    }

    fn state_lengths<'a>(&self, batch: &'a BlockBatch) -> &'a Lengths {
        &batch.input.lengths
    }

    fn logits_mean<'a>(&self, batch: &'a BlockBatch) -> LogitsMean<'a> {
        LogitsMean::Valid(&batch.input.lengths)
    }

    fn forward(&self, model: &LanguageModel, batch: &BlockBatch, asked: &Asked) -> Output {
        let states = model.states(&batch.input, &asked.options());
        Output {
            hidden_states: states.hidden_states,
            logits: asked.logits.then(|| model.logits(states.final_norm)),
        }
    }

    fn task_loss(&self, logits: Tensor<3>, batch: &BlockBatch) -> Option<Tensor<1>> {
        Some(next_token_loss(logits, batch))
    }

    fn eval_batch_size(&self, model: &LanguageModel) -> usize {
        let blocks = self.valid.as_ref().unwrap_or(&self.train);
        batch_size(model, blocks.block_length())
    }

    fn evaluate(
        &self,
        model: &LanguageModel,
        batch_size: usize,
        observer: &mut dyn Observer,
    ) -> Result<Score> {
        match &self.valid {
            Some(valid) => Ok(evaluate_blocks(model, valid, batch_size, observer)?.0),
            None => Ok(Score::default()),
        }
    }

    fn guiding(
        &self,
        folder: &Path,
        student: &LanguageModel,
        device: &Device,
    ) -> Result<LanguageModel> {
        guiding(folder, student, device)
    }
}

/// A teacher that is not trained: frozen, with states and logits of the same shape.
pub(super) fn guiding(
    folder: &Path,
    student: &LanguageModel,
    device: &Device,
) -> Result<LanguageModel> {
    let teacher = <LanguageModel as Model>::load(folder, device)?.frozen();
    let facts = |model: &LanguageModel| {
        let config = &model.config;
        (
            config.hidden_size,
            config.num_hidden_layers,
            config.vocab_size,
        )
    };
    if facts(&teacher) != facts(student) {
        bail!(
            "{}: (hidden_size, layers, vocab_size): expected {:?} as the student has, found {:?}",
            folder.display(),
            facts(student),
            facts(&teacher)
        );
    }
    Ok(teacher)
}

/// Logits of a forward pass of evaluation, at most: 256 MB.
const LOGITS: usize = 64_000_000;

/// Blocks in a forward pass of evaluation, where nobody says: as many as their logits allow, one at least.
fn batch_size(model: &LanguageModel, block_length: usize) -> usize {
    let of_a_block = block_length.saturating_mul(model.config.vocab_size);
    (LOGITS / of_a_block.max(1)).clamp(1, BATCH)
}

/// Loss, accuracy, perplexity and bits a byte of `model` (frozen) over `blocks`, and the wall-clock seconds.
///
/// The first token of all is not predicted and its bytes are counted: over a text of any size that is nothing.
///
/// # Errors
/// The device cannot be read.
pub(super) fn evaluate_blocks(
    model: &LanguageModel,
    blocks: &Blocks,
    batch_size: usize,
    observer: &mut dyn Observer,
) -> Result<(Score, f64)> {
    let started = Instant::now();
    let device = model.device().without_autodiff();
    let order: Vec<usize> = (0..blocks.len()).collect();
    let (mut nats, mut right, mut done) = (0.0, 0.0, 0);
    for indices in order.chunks(batch_size.max(1)) {
        let batch = blocks.batch(indices, &device);
        let logits = model
            .forward(&batch.input, &ForwardOptions::default())
            .logits;
        let guesses = logits.clone().argmax(2).squeeze_dim::<2>(2);
        let hits = hits(guesses, &batch);
        let sums = Tensor::cat(vec![next_token_losses(logits, &batch).sum(), hits], 0);
        let data = sums
            .try_into_data()
            .map_err(|error| anyhow::anyhow!("the device failed: {error:?}"))?;
        let mut values = data.iter::<f64>();
        nats += values.next().unwrap_or(f64::NAN);
        right += values.next().unwrap_or(f64::NAN);
        done += indices.len();
        observer.evaluating(done, blocks.len());
    }
    let tokens = blocks.predicted() as f64;
    let score = Score {
        loss: nats / tokens,
        accuracy: right / tokens,
        perplexity: Some((nats / tokens).exp()),
        bits_per_byte: Some(nats / std::f64::consts::LN_2 / blocks.bytes().max(1) as f64),
        ..Score::default()
    };
    Ok((score, started.elapsed().as_secs_f64()))
}

/// How many guesses are the token that came, \[1\].
fn hits(guesses: Tensor<2, Int>, batch: &BlockBatch) -> Tensor<1> {
    let [rows, length] = guesses.dims();
    let hits = guesses.equal(batch.targets.clone()).float();
    let mask = TensorData::new(batch.input.lengths.mask(length), [rows, length]);
    let mask = Tensor::<2>::from_data(mask, &hits.device());
    (hits * mask).sum()
}

/// Evaluates a language model, and its teacher where one is named, on running text.
pub(super) fn evaluate(options: &EvalOptions, observer: &mut dyn Observer) -> Result<Evaluation> {
    let (device, line) = select_device(options.device)?;
    observer.message(&line);
    let mut scores = Vec::new();
    for folder in std::iter::once(&options.model).chain(&options.teacher) {
        let model = <LanguageModel as Model>::load(folder, &device)?.frozen();
        let within = || format!("{}", folder.display());
        let tokenizer = tokenizer_of(&model).with_context(within)?;
        let data = &options.data;
        let blocks =
            blocks(&model, &tokenizer, data, &data.valid, data.valid_limit).with_context(within)?;
        let size = match options.batch_size {
            0 => batch_size(&model, blocks.block_length()),
            size => size,
        };
        let (score, seconds) = evaluate_blocks(&model, &blocks, size, observer)?;
        scores.push((score, seconds, blocks.len()));
    }
    let (score, seconds, examples) = scores[0];
    let teacher = scores.get(1).map(|(score, ..)| score);
    Ok(Evaluation {
        examples,
        loss: score.loss,
        accuracy: score.accuracy,
        perplexity: score.perplexity,
        bits_per_byte: score.bits_per_byte,
        teacher_accuracy: teacher.map(|score| score.accuracy),
        teacher_loss: teacher.map(|score| score.loss),
        seconds,
        ..Evaluation::default()
    })
}

#[cfg(test)]
mod tests {
    use caldera_models::LanguageConfig;
    use serde_json::json;

    use super::*;

    fn model(vocabulary: usize) -> LanguageModel {
        let config = json!({
            "architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "vocab_size": vocabulary, "hidden_size": 8,
            "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "max_position_embeddings": 16,
        });
        let config = LanguageConfig::from_value(config, "test").unwrap();
        LanguageModel::random(config, 1, &Device::flex()).unwrap()
    }

    #[test]
    fn logits_are_computed_where_they_are_asked_for() {
        let (model, train) = (model(11), Blocks::new((0..9).collect(), 4, 9).unwrap());
        let task = LanguageTask { train, valid: None };
        let batch = task.batch(&[0, 1], 0, &Device::flex());
        for logits in [false, true] {
            let asked = Asked {
                hidden_states: true,
                logits,
                dropout: false,
            };
            let output = task.forward(&model, &batch, &asked);
            assert_eq!(output.hidden_states.len(), 2);
            let dims = output.logits.map(|logits| logits.dims());
            assert_eq!(dims, logits.then_some([2, 4, 11]));
        }
    }

    #[test]
    fn a_large_vocabulary_makes_small_batches() {
        assert_eq!(batch_size(&model(512), 256), 64);
        let large = model(50_304);
        assert_eq!(batch_size(&large, 256), 4);
        assert_eq!(batch_size(&large, 100_000), 1);
    }
}
