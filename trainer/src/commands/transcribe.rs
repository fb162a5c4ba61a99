//! `caldera transcribe`

use super::{Outcome, flags::choice, output};
use crate::cald::{SpeechAnswer, SpeechHead, SpeechReader};
use crate::config::DeviceChoice;
use crate::data::Recording;
use crate::data::audio::read_clip;
use crate::model::{ModelKind, kind_of};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Instant;

const EXAMPLE: &str = "\
Example:
  caldera transcribe --model runs/asr/best recording.wav another.flac
  caldera transcribe --model runs/asr/best recording.wav --json
Of a model that recognises speech, what is said in each file; of a classifier, its label. A file that cannot be read is told
of on standard error, the others are still answered, and the exit code is 1. MODEL FILE… without --model is taken too.";

/// What is said in sound files, or what they are
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// Folder of the model; without it the first FILE is that folder
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Sound files, WAV or FLAC, of any sample rate and number of channels
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Longest clip in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600.0)]
    max_seconds: f64,
    /// auto, gpu or cpu
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = choice::<DeviceChoice>)]
    device: DeviceChoice,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let (model, files) = match (&args.model, args.files.split_first()) {
        (Some(model), _) => (model, &args.files[..]),
        (None, Some((model, files))) if !files.is_empty() => (model, files),
        _ => bail!("a model or a sound file is missing: caldera transcribe --model DIR FILE…"),
    };
    if kind_of(model)? != ModelKind::Speech {
        bail!(
            "{}: this model takes text, not sound; give the folder of a speech model",
            model.display()
        );
    }
    let (device, line) = crate::select_device(args.device)?;
    eprintln!("device: {line}");
    let reader = SpeechReader::load(model, &device)?;
    let mut failed = 0;
    for file in files {
        let heard = match hear(&reader, file, args.max_seconds) {
            Ok(heard) => heard,
            Err(error) => {
                super::tell(&error);
                failed += 1;
                continue;
            }
        };
        let (key, said, more) = told(&reader, &heard.answer);
        if args.json {
            let mut value = json!({
                "file": file, key: said, "audio_seconds": heard.audio_seconds, "seconds": heard.seconds,
            });
            if let Some(probabilities) = more {
                value["probabilities"] = json!(probabilities);
            }
            output::line(&value.to_string())?;
        } else if files.len() > 1 {
            output::line(&format!("{}\t{said}", file.display()))?;
        } else {
            output::line(&said)?;
        }
    }
    if failed == 0 {
        return Ok(Outcome::Done);
    }
    if files.len() > 1 {
        eprintln!("{failed} of {} files have no answer", files.len());
    }
    Ok(Outcome::Missed)
}

/// What a model made of a file.
struct Heard {
    answer: SpeechAnswer,
    audio_seconds: f64,
    seconds: f64,
}

/// The answer to one file: what it gives does not depend on its neighbours, and memory not on their number.
fn hear(reader: &SpeechReader, file: &Path, max_seconds: f64) -> Result<Heard> {
    let clip = read_clip(file, reader.extractor.sampling_rate, max_seconds)?;
    let audio_seconds = clip.seconds();
    reader
        .model
        .validate(&[&clip.samples])
        .with_context(|| format!("{}: cannot be given to the model", file.display()))?;
    let start = Instant::now();
    let answers = reader
        .answers(&[Recording::of(clip.samples)], 1)
        .with_context(|| file.display().to_string())?;
    let answer = answers.into_iter().next();
    Ok(Heard {
        answer: answer.with_context(|| format!("{}: the model gave no answer", file.display()))?,
        audio_seconds,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// The kind of an answer, its words, and the probability of every label.
fn told(reader: &SpeechReader, answer: &SpeechAnswer) -> (&'static str, String, Option<Vec<f64>>) {
    match (answer, &reader.head) {
        (SpeechAnswer::Text(text), _) => ("text", text.clone(), None),
        (SpeechAnswer::Label(label, log), head) => {
            let name = match head {
                SpeechHead::Classifier(labels) => labels.names().get(*label).cloned(),
                SpeechHead::Ctc(_) => None,
            };
            let probabilities = log.iter().map(|p| p.exp()).collect();
            (
                "label",
                name.unwrap_or_else(|| label.to_string()),
                Some(probabilities),
            )
        }
    }
}
