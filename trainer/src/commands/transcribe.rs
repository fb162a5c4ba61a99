//! `caldera transcribe`

use super::{Outcome, flags::choice, output};
use crate::cald::{SpeechAnswer, SpeechHead, SpeechReader};
use crate::config::DeviceChoice;
use crate::data::Recording;
use crate::data::audio::read_clip;
use crate::model::{ModelKind, kind_of};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

const EXAMPLE: &str = "\
Example:
  caldera transcribe runs/asr/best recording.wav another.flac
  caldera transcribe runs/asr/best recording.wav --json
Of a model that recognises speech, what is said in each file; of a classifier, its label.";

/// What is said in sound files, or what they are
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// Folder of the model
    #[arg(value_name = "MODEL")]
    model: PathBuf,
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
    if kind_of(&args.model)? != ModelKind::Speech {
        bail!(
            "{}: this model takes text, not sound; give the folder of a speech model",
            args.model.display()
        );
    }
    let (device, line) = crate::select_device(args.device)?;
    eprintln!("device: {line}");
    let reader = SpeechReader::load(&args.model, &device)?;
    let rate = reader.extractor.sampling_rate;
    for file in &args.files {
        let clip = read_clip(file, rate, args.max_seconds)?;
        let seconds = clip.seconds();
        reader
            .model
            .validate(&[&clip.samples])
            .with_context(|| format!("{}: cannot be given to the model", file.display()))?;
        let start = Instant::now();
        // One at a time: what a file gives does not depend on its neighbours, and memory not on their number.
        let answers = reader
            .answers(&[Recording::of(clip.samples)], 1)
            .with_context(|| file.display().to_string())?;
        let took = start.elapsed().as_secs_f64();
        for answer in &answers {
            let (key, said, more) = told(&reader, answer);
            if args.json {
                let mut value =
                    json!({"file": file, key: said, "audio_seconds": seconds, "seconds": took});
                if let Some(probabilities) = more {
                    value["probabilities"] = json!(probabilities);
                }
                output::line(&value.to_string())?;
            } else if args.files.len() > 1 {
                output::line(&format!("{}\t{said}", file.display()))?;
            } else {
                output::line(&said)?;
            }
        }
    }
    Ok(Outcome::Done)
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
