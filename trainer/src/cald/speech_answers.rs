//! What a speech model says of clips, and how right it is.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Int, Tensor};
use caldera_models::{
    CtcVocabulary, FeatureExtractor, ForwardOptions, Parameters, SpeechArchitecture, SpeechModel,
};

use super::evaluate::{EvalOptions, Evaluation, log_softmax};
use super::setup::speech::{examples, load_utterances};
use super::speech::{ClipBatch, SpeechExample, Target, characters, divisor};
use crate::data::{LabelSet, Recording};
use crate::device::select_device;
use crate::error_rates::ErrorRates;
use crate::losses::ctc_losses;
use crate::metrics::{Observer, Score};
use crate::model::Model;

/// Clips in a forward pass of evaluation, where nobody says.
pub(super) const CLIPS: usize = 16;

/// What stands on the encoder, with what it takes to read its answers.
#[derive(Clone, Debug)]
pub enum SpeechHead {
    /// Characters frame by frame.
    Ctc(CtcVocabulary),
    /// Labels of whole clips.
    Classifier(LabelSet),
}

impl SpeechHead {
    /// Whether both give the same answers at the same places of their logits.
    pub fn answers_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ctc(a), Self::Ctc(b)) => a.to_json() == b.to_json() && a.blank() == b.blank(),
            (Self::Classifier(a), Self::Classifier(b)) => a.len() == b.len(),
            _ => false,
        }
    }

    /// What it is, for messages.
    pub fn describe(&self) -> String {
        match self {
            Self::Ctc(vocabulary) => format!("the {} characters of a vocab.json", vocabulary.len()),
            Self::Classifier(labels) => format!("the labels {:?}", labels.names()),
        }
    }
}

/// A frozen speech model that is ready to be asked.
#[derive(Clone, Debug)]
pub struct SpeechReader {
    /// The model.
    pub model: SpeechModel,
    /// What is done to clips before.
    pub extractor: FeatureExtractor,
    /// What is made of logits after.
    pub head: SpeechHead,
}

/// What a model says of a clip.
#[derive(Clone, Debug, PartialEq)]
pub enum SpeechAnswer {
    /// What is said in it, read greedily.
    Text(String),
    /// What it is: number and log probability of every label.
    Label(usize, Vec<f64>),
}

impl SpeechAnswer {
    /// Whether both say the same text or label.
    fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Label(a, _), Self::Label(b, _)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            _ => false,
        }
    }
}

impl SpeechReader {
    /// Reads a model folder.
    ///
    /// # Errors
    /// A folder that cannot be read, a model without a head or without the files that belong to it.
    pub fn load(folder: &Path, device: &Device) -> Result<Self> {
        Self::of(
            <SpeechModel as Model>::load(folder, device)?.frozen(),
            folder,
        )
    }

    /// Of a model with a head; `folder` is named in messages.
    pub(super) fn of(model: SpeechModel, folder: &Path) -> Result<Self> {
        let extractor = extractor_of(&model, folder)?;
        let head = match model.config.architecture {
            SpeechArchitecture::Bare => bail!(
                "{}: no head to answer with; fine-tune the model first (caldera finetune --task ctc, or classify)",
                folder.display()
            ),
            SpeechArchitecture::Ctc => {
                SpeechHead::Ctc(vocabulary_of(&model, folder)?.with_context(|| {
                    format!(
                        "{}: a CTC head, but no vocab.json; put it beside the weights",
                        folder.display()
                    )
                })?)
            }
            SpeechArchitecture::SequenceClassification => {
                SpeechHead::Classifier(LabelSet::new(model.config.labels.clone())?)
            }
        };
        Ok(Self {
            model,
            extractor,
            head,
        })
    }

    /// Answers to clips, in their order, `batch_size` at a time and similar lengths together.
    ///
    /// # Errors
    /// The device cannot be read.
    pub fn answers(
        &self,
        recordings: &[Recording],
        batch_size: usize,
    ) -> Result<Vec<SpeechAnswer>> {
        let unlabelled = |recording: &Recording| SpeechExample {
            recording: recording.clone(),
            target: Target::None,
        };
        let examples: Vec<SpeechExample> = recordings.iter().map(unlabelled).collect();
        let silent = &mut crate::metrics::Silent;
        Ok(evaluate_speech(self, &examples, batch_size, silent)?.1)
    }
}

/// `preprocessor_config.json` of a model; without one the usual settings at 16 kHz.
pub(super) fn extractor_of(model: &SpeechModel, folder: &Path) -> Result<FeatureExtractor> {
    const FILE: &str = "preprocessor_config.json";
    let name = folder.join(FILE).display().to_string();
    Ok(match model.files.get(FILE) {
        Some(bytes) => FeatureExtractor::from_json(bytes, &name)?,
        None => FeatureExtractor::new(16_000),
    })
}

/// `vocab.json` of a model, if it has one.
pub(super) fn vocabulary_of(model: &SpeechModel, folder: &Path) -> Result<Option<CtcVocabulary>> {
    let Some(vocab) = model.files.get("vocab.json") else {
        return Ok(None);
    };
    let name = folder.join("vocab.json").display().to_string();
    let roles = model.files.get("tokenizer_config.json").map(Vec::as_slice);
    let vocabulary = CtcVocabulary::from_files(vocab, roles, &name)?;
    vocabulary.check_classes(model.config.vocab_size)?;
    if vocabulary.blank() != model.config.pad_token_id {
        bail!(
            "{name}: expected pad_token_id {} of config.json as the blank, found {}; use the files that were saved together",
            model.config.pad_token_id,
            vocabulary.blank()
        );
    }
    Ok(Some(vocabulary))
}

/// A recording as the model takes it. Its samples were found finite when it was read.
pub(super) fn extracted(recording: &Recording, extractor: &FeatureExtractor) -> Vec<f32> {
    let samples = recording.samples();
    extractor.extract(&samples).unwrap_or(samples)
}

/// Score and answers of a model over examples, batched by length, and the wall-clock seconds. Examples without a target
/// count for nothing in the score.
pub(super) fn evaluate_speech(
    reader: &SpeechReader,
    examples: &[SpeechExample],
    batch_size: usize,
    observer: &mut dyn Observer,
) -> Result<(Score, Vec<SpeechAnswer>, f64)> {
    let started = Instant::now();
    let device = reader.model.device().without_autodiff();
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|index| examples[*index].recording.len());
    let mut answers: Vec<Option<SpeechAnswer>> = vec![None; examples.len()];
    let (mut loss, mut counted, mut done) = (0.0, 0usize, 0);
    for indices in order.chunks(batch_size.max(1)) {
        let rows: Vec<&SpeechExample> = indices.iter().map(|index| &examples[*index]).collect();
        let batch = ClipBatch::new(&rows, &reader.extractor, &reader.model.config, &device);
        let output = reader
            .model
            .forward(&batch.input, &ForwardOptions::default());
        let logits = output
            .logits
            .context("the model has no head; fine-tune it first")?;
        let (found, losses) = match &reader.head {
            SpeechHead::Ctc(vocabulary) => read_texts(reader, logits, &batch, vocabulary)?,
            SpeechHead::Classifier(_) => read_labels(logits, &batch)?,
        };
        for ((index, answer), each) in indices.iter().zip(found).zip(losses) {
            answers[*index] = Some(answer);
            if let Some(each) = each {
                loss += each;
                counted += 1;
            }
        }
        done += indices.len();
        observer.evaluating(done, examples.len());
    }
    let answers: Vec<SpeechAnswer> = answers.into_iter().flatten().collect();
    let mut score = score(examples, &answers);
    score.loss = loss / counted.max(1) as f64;
    Ok((score, answers, started.elapsed().as_secs_f64()))
}

type Read = (Vec<SpeechAnswer>, Vec<Option<f64>>);

fn read_texts(
    reader: &SpeechReader,
    logits: Tensor<3>,
    batch: &ClipBatch,
    vocabulary: &CtcVocabulary,
) -> Result<Read> {
    let [_, length, _] = logits.dims();
    let best: Tensor<3, Int> = logits.clone().argmax(2);
    let best: Vec<i64> = best.try_into_data().map_err(failed)?.iter().collect();
    let rows = best.chunks(length.max(1)).zip(batch.frames.as_slice());
    let text = |(row, frames): (&[i64], &u32)| {
        let ids: Vec<u32> = row
            .iter()
            .take(*frames as usize)
            .map(|id| *id as u32)
            .collect();
        SpeechAnswer::Text(vocabulary.decode(&ids))
    };
    let answers = rows.map(text).collect();
    if batch.targets.iter().all(|target| *target == Target::None) {
        return Ok((answers, vec![None; batch.targets.len()]));
    }
    let losses = ctc_losses(
        logits,
        &batch.frames,
        &characters(&batch.targets),
        vocabulary.blank(),
    );
    let losses: Vec<f64> = losses.try_into_data().map_err(failed)?.iter().collect();
    let reduction = reader.model.config.ctc_loss_reduction;
    let each = losses
        .into_iter()
        .zip(&batch.targets)
        .map(|(loss, target)| target.length().map(|_| loss / divisor(target, reduction)));
    Ok((answers, each.collect()))
}

fn failed(error: impl std::fmt::Debug) -> anyhow::Error {
    anyhow::anyhow!("the device failed: {error:?}")
}

fn read_labels(logits: Tensor<3>, batch: &ClipBatch) -> Result<Read> {
    let [_, _, classes] = logits.dims();
    let values: Vec<f64> = logits.try_into_data().map_err(failed)?.iter().collect();
    let rows = values.chunks(classes).zip(&batch.targets);
    Ok(rows
        .map(|(row, target)| {
            let row = log_softmax(row);
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
            let best = best.map_or(0, |(label, _)| label);
            let loss = target
                .label()
                .map(|label| row.get(label).map_or(f64::INFINITY, |p| -p));
            (SpeechAnswer::Label(best, row), loss)
        })
        .unzip())
}

/// How right answers are; without the loss.
fn score(examples: &[SpeechExample], answers: &[SpeechAnswer]) -> Score {
    let (mut rates, mut texts) = (ErrorRates::default(), false);
    let (mut right, mut labelled) = (0usize, 0usize);
    for (example, answer) in examples.iter().zip(answers) {
        match (&example.target, answer) {
            (Target::Text(_, reference), SpeechAnswer::Text(text)) => {
                rates.add(reference, text);
                texts = true;
            }
            (Target::Label(label), SpeechAnswer::Label(best, _)) => {
                right += usize::from(label == best);
                labelled += 1;
            }
            _ => {}
        }
    }
    match texts {
        true => Score {
            accuracy: rates.right(),
            wer: Some(rates.wer()),
            cer: Some(rates.cer()),
            ..Score::default()
        },
        false => Score {
            accuracy: right as f64 / labelled.max(1) as f64,
            ..Score::default()
        },
    }
}

/// Evaluates a speech model, and its teacher where one is named, on a manifest.
pub(super) fn evaluate(options: &EvalOptions, observer: &mut dyn Observer) -> Result<Evaluation> {
    let (device, line) = select_device(options.device)?;
    observer.message(&line);
    let size = match options.batch_size {
        0 => CLIPS,
        size => size,
    };
    let data = &options.data;
    let utterances = load_utterances(&data.valid, data, data.valid_limit)?;
    let mut results = Vec::new();
    for folder in std::iter::once(&options.model).chain(&options.teacher) {
        let mut reader = SpeechReader::load(folder, &device)?;
        if let SpeechHead::Classifier(labels) = &mut reader.head
            && !data.labels.is_empty()
        {
            let named = LabelSet::new(data.labels.clone())?;
            if named.len() != labels.len() {
                bail!(
                    "data.labels has {} names, {} has a head for {} labels",
                    named.len(),
                    folder.display(),
                    labels.len()
                );
            }
            *labels = named;
        }
        let examples = examples(
            &utterances,
            &reader.head,
            &reader.extractor,
            &reader.model.config,
            data,
            true,
        )?;
        results.push(evaluate_speech(&reader, &examples, size, observer)?);
    }
    let (score, answers, seconds) = &results[0];
    let teacher = results.get(1);
    let agreement = teacher.map(|(_, theirs, _)| {
        let same = |(a, b): &(&SpeechAnswer, &SpeechAnswer)| a.agrees(b);
        answers.iter().zip(theirs).filter(same).count() as f64 / answers.len().max(1) as f64
    });
    Ok(Evaluation {
        examples: answers.len(),
        loss: score.loss,
        accuracy: score.accuracy,
        wer: score.wer,
        cer: score.cer,
        agreement,
        teacher_accuracy: teacher.map(|(score, ..)| score.accuracy),
        teacher_loss: teacher.map(|(score, ..)| score.loss),
        teacher_wer: teacher.and_then(|(score, ..)| score.wer),
        teacher_cer: teacher.and_then(|(score, ..)| score.cer),
        seconds: *seconds,
        ..Evaluation::default()
    })
}
