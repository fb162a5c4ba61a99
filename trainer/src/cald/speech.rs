//! Clips, recognised or classified: the family of [`SpeechModel`].

use std::path::Path;

use anyhow::{Result, bail};
use burn::tensor::{Device, Tensor};
use caldera_models::{
    CtcReduction, FeatureExtractor, Parameters, SpeechBatch, SpeechConfig, SpeechModel,
};
use caldera_shaders::Lengths;

use super::family::{Asked, Counts, Family, Output};
use super::speech_answers::{CLIPS, SpeechHead, SpeechReader, evaluate_speech, extracted};
use crate::batches::{TimeMask, time_mask};
use crate::config::{RunConfig, TrainConfig};
use crate::data::Recording;
use crate::losses::{LogitsMean, cross_entropy, ctc_losses, reduced};
use crate::metrics::{Observer, Score};
use crate::model::Model;

/// What a model should say of a clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Its characters, and how they are spelled.
    Text(Vec<u32>, String),
    /// The number of its label.
    Label(usize),
    /// Nothing is known of it.
    None,
}

/// A clip and what is to be said of it.
#[derive(Clone, Debug)]
pub(super) struct SpeechExample {
    pub recording: Recording,
    pub target: Target,
}

/// The clips of a run.
pub(super) struct SpeechTask {
    /// Labelled clips, then those without labels.
    pub train: Vec<SpeechExample>,
    /// How many of `train` have labels.
    pub labelled: usize,
    pub valid: Vec<SpeechExample>,
    pub head: SpeechHead,
    pub extractor: FeatureExtractor,
    /// Of the model that the run begins with; the student has the same feature encoder.
    pub config: SpeechConfig,
}

/// Clips side by side on a device.
pub(super) struct ClipBatch {
    pub input: SpeechBatch,
    /// Frames of each clip without padding, whether or not the model is told.
    pub frames: Lengths,
    pub targets: Vec<Target>,
}

impl ClipBatch {
    pub fn new(
        examples: &[&SpeechExample],
        extractor: &FeatureExtractor,
        config: &SpeechConfig,
        device: &Device,
    ) -> Self {
        let clips: Vec<Vec<f32>> = examples
            .iter()
            .map(|example| extracted(&example.recording, extractor))
            .collect();
        let clips: Vec<&[f32]> = clips.iter().map(Vec::as_slice).collect();
        let mut input = SpeechBatch::new(&clips, config, device);
        let frames = input.frames.clone();
        if !extractor.return_attention_mask {
            input.frames = Lengths::full(clips.len(), frames.max().max(1));
        }
        Self {
            input,
            frames,
            targets: examples
                .iter()
                .map(|example| example.target.clone())
                .collect(),
        }
    }
}

impl Family for SpeechTask {
    type Model = SpeechModel;
    type Batch = ClipBatch;

    fn lengths(&self) -> Vec<usize> {
        self.train
            .iter()
            .map(|example| example.recording.len())
            .collect()
    }

    fn counts(&self) -> Counts {
        Counts {
            labelled: self.labelled,
            unlabelled: self.train.len() - self.labelled,
            valid: self.valid.len(),
        }
    }

    fn batch_positions(&self, train: &TrainConfig) -> Option<usize> {
        Some((train.batch_seconds * f64::from(self.extractor.sampling_rate)) as usize)
    }

    fn trainable(&self, model: SpeechModel, config: &RunConfig) -> SpeechModel {
        match config.train.freeze_feature_encoder {
            true => model.trainable_but(|name| name.contains("feature_extractor.")),
            false => model.trainable(),
        }
    }

    fn batch(&self, indices: &[usize], draw: u64, device: &Device) -> ClipBatch {
        let rows: Vec<&SpeechExample> = indices.iter().map(|index| &self.train[*index]).collect();
        let mut batch = ClipBatch::new(&rows, &self.extractor, &self.config, device);
        if let Some(mask) = TimeMask::of(&self.config) {
            let masked = time_mask(batch.frames.as_slice(), &mask, draw);
            batch.input = batch.input.with_masked(&masked);
        }
        batch
    }

    fn size(&self, batch: &ClipBatch) -> (usize, usize) {
        let [rows, samples] = batch.input.input_values.dims();
        (rows, rows * self.config.frames(samples))
    }

    fn state_lengths<'a>(&self, batch: &'a ClipBatch) -> &'a Lengths {
        &batch.frames
    }

    fn logits_mean<'a>(&self, batch: &'a ClipBatch) -> LogitsMean<'a> {
        match self.head {
            SpeechHead::Ctc(_) => LogitsMean::Valid(&batch.frames),
            SpeechHead::Classifier(_) => LogitsMean::Batch,
        }
    }

    fn forward(&self, model: &SpeechModel, batch: &ClipBatch, asked: &Asked) -> Output {
        // Frames are masked where there is dropout: in training alone, so a teacher that is not trained hears everything.
        let mut input = batch.input.clone();
        if !asked.dropout {
            input.masked = None;
        }
        let output = model.forward(&input, &asked.options());
        Output {
            hidden_states: output.hidden_states,
            logits: output.logits,
        }
    }

    fn task_loss(&self, logits: Tensor<3>, batch: &ClipBatch) -> Option<Tensor<1>> {
        match &self.head {
            SpeechHead::Ctc(vocabulary) => {
                let lengths: Vec<Option<usize>> =
                    batch.targets.iter().map(Target::length).collect();
                if lengths.iter().all(Option::is_none) {
                    return None;
                }
                let losses = ctc_losses(
                    logits,
                    &batch.frames,
                    &characters(&batch.targets),
                    vocabulary.blank(),
                );
                reduced(losses, &lengths, self.config.ctc_loss_reduction)
            }
            SpeechHead::Classifier(_) => {
                let labels: Vec<Option<usize>> = batch.targets.iter().map(Target::label).collect();
                cross_entropy(logits.squeeze_dim::<2>(1), &labels)
            }
        }
    }

    fn eval_batch_size(&self, _model: &SpeechModel) -> usize {
        CLIPS
    }

    fn evaluate(
        &self,
        model: &SpeechModel,
        batch_size: usize,
        observer: &mut dyn Observer,
    ) -> Result<Score> {
        let reader = SpeechReader {
            model: model.clone(),
            extractor: self.extractor.clone(),
            head: self.head.clone(),
        };
        Ok(evaluate_speech(&reader, &self.valid, batch_size, observer)?.0)
    }

    fn guiding(
        &self,
        folder: &Path,
        student: &SpeechModel,
        device: &Device,
    ) -> Result<SpeechModel> {
        let teacher = <SpeechModel as Model>::load(folder, device)?.frozen();
        let reader = SpeechReader::of(teacher, folder)?;
        let facts = |config: &SpeechConfig| (config.hidden_size, config.num_hidden_layers);
        if facts(&reader.model.config) != facts(&student.config) {
            bail!(
                "{}: (hidden_size, layers): expected {:?} as the student has, found {:?}",
                folder.display(),
                facts(&student.config),
                facts(&reader.model.config)
            );
        }
        if reader.model.config.conv_layers != student.config.conv_layers
            || reader.extractor.sampling_rate != self.extractor.sampling_rate
        {
            bail!(
                "{}: expected the sampling rate and the convolutions of the student, so that frames meet; found others",
                folder.display()
            );
        }
        if !reader.head.answers_like(&self.head) {
            bail!(
                "{}: expected a head for {}, as the student has, found one for {}",
                folder.display(),
                self.head.describe(),
                reader.head.describe()
            );
        }
        Ok(reader.model)
    }
}

impl Target {
    /// Characters of a text.
    pub fn length(&self) -> Option<usize> {
        match self {
            Self::Text(ids, _) => Some(ids.len()),
            _ => None,
        }
    }

    /// Number of a label.
    pub fn label(&self) -> Option<usize> {
        match self {
            Self::Label(label) => Some(*label),
            _ => None,
        }
    }
}

/// The characters of every target; none where there is no text.
pub(super) fn characters(targets: &[Target]) -> Vec<Vec<u32>> {
    let of = |target: &Target| match target {
        Target::Text(ids, _) => ids.clone(),
        _ => Vec::new(),
    };
    targets.iter().map(of).collect()
}

/// What an evaluation divides a clip's loss by, so that it is the loss of training on one clip.
pub(super) fn divisor(target: &Target, reduction: CtcReduction) -> f64 {
    match reduction {
        CtcReduction::Sum => 1.0,
        CtcReduction::Mean => target.length().unwrap_or(1).max(1) as f64,
    }
}
