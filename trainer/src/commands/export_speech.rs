//! Pairs of speech models: whether two are one, and clips to try.

use std::path::Path;

use anyhow::{Context, Result, bail};
use caldera_models::{Checkpoint, PairSample, SpeechMixer, SpeechModel};

use crate::cald::{SpeechHead, SpeechReader};
use crate::config::DataConfig;
use crate::data::audio::{Clip, to_wav};
use crate::data::{Fields, RawLabel, read_manifests, read_recordings};

/// The labels of both (none of recognisers) and the name of their task, or why the two are no pair.
pub(super) fn compatible(
    teacher: &Path,
    transformer: &Checkpoint,
    student: &Path,
    linear: &Checkpoint,
) -> Result<(Vec<String>, &'static str)> {
    let device = burn::tensor::Device::flex();
    let mut readers = Vec::new();
    for (folder, checkpoint, mixes, expected) in [
        (teacher, transformer, false, "a transformer for --teacher"),
        (student, linear, true, "a converted model for --student"),
    ] {
        // Shapes and names are checked here, not in somebody's browser.
        let model = SpeechModel::from_checkpoint(checkpoint, &device)?;
        if (model.config.mixer != SpeechMixer::Attention) != mixes {
            bail!(
                "{}: expected {expected}, found the mixer {}",
                folder.display(),
                model.config.mixer.name()
            );
        }
        readers.push(SpeechReader::load(folder, &device)?);
    }
    let (a, b) = (&readers[0], &readers[1]);
    if !a.head.answers_like(&b.head) {
        bail!(
            "{} answers with {}, {} with {}: not a pair",
            teacher.display(),
            a.head.describe(),
            student.display(),
            b.head.describe()
        );
    }
    if a.extractor != b.extractor {
        bail!(
            "{} and {} have different files preprocessor_config.json: not a pair",
            teacher.display(),
            student.display()
        );
    }
    Ok(match &b.head {
        SpeechHead::Ctc(_) => (Vec::new(), "automatic-speech-recognition"),
        SpeechHead::Classifier(labels) => (labels.names().to_vec(), "audio-classification"),
    })
}

/// A clip of a pair: its path there, and its bytes.
type ClipFile = (String, Vec<u8>);

/// `count` clips of the data, evenly spread over it, at the model's rate, each with its credit.
pub(super) fn samples(
    model: &Path,
    data: &DataConfig,
    labels: &[String],
    count: usize,
    credit: &[&String],
) -> Result<(Vec<PairSample>, Vec<ClipFile>)> {
    let reader = SpeechReader::load(model, &burn::tensor::Device::flex())?;
    let all = read_manifests(&data.valid, &Fields::from_config(data), data.valid_limit)?;
    let chosen: Vec<_> = (0..count.min(all.len()))
        .map(|i| all[(2 * i + 1) * all.len() / (2 * count.min(all.len()))].clone())
        .collect();
    let rate = reader.extractor.sampling_rate;
    let recordings = read_recordings(&chosen, rate, data.max_seconds)?;
    let credit: Vec<&str> = credit
        .iter()
        .map(|part| part.as_str())
        .filter(|part| !part.is_empty())
        .collect();
    let (mut samples, mut files) = (Vec::new(), Vec::new());
    for (number, (utterance, recording)) in chosen.iter().zip(&recordings).enumerate() {
        let path = format!("samples/{}.wav", number + 1);
        let clip = Clip {
            samples: recording.samples(),
            sampling_rate: rate,
        };
        let wav = to_wav(&clip).with_context(|| {
            utterance
                .error("cannot be written as WAV".into())
                .to_string()
        })?;
        files.push((path.clone(), wav));
        let mut whose = credit.clone();
        let speaker = utterance
            .speaker
            .as_ref()
            .map(|name| format!("speaker {name}"));
        whose.extend(speaker.as_deref());
        let label = utterance.label.as_ref().filter(|_| !labels.is_empty());
        samples.push(PairSample {
            text: utterance.text.clone().unwrap_or_default(),
            audio: Some(path),
            credit: (!whose.is_empty()).then(|| whose.join(", ")),
            label: label.map(|label| match label {
                RawLabel::Name(name) => name.clone(),
                RawLabel::Number(number) => {
                    let known = usize::try_from(*number)
                        .ok()
                        .and_then(|number| labels.get(number));
                    known.cloned().unwrap_or_else(|| number.to_string())
                }
            }),
            ..PairSample::default()
        });
    }
    Ok((samples, files))
}
