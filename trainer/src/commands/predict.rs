//! `caldera predict`

use super::{Outcome, eval::Fields, output};
use crate::data::{Fields as DataFields, read_records};
use crate::model::{ModelKind, kind_of};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

const EXAMPLE: &str = "\
Example:
  caldera predict --model runs/student/best \"a fine film\" \"a waste of two hours\"
  caldera predict --model runs/student/best --file reviews.txt --json
  cat reviews.txt | caldera predict --model runs/student/best";

/// Labels and probabilities for texts from arguments, a file or standard input (one a line)
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// Folder of the model
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Texts
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// Second text for a single text given as argument
    #[arg(long, value_name = "TEXT")]
    pair: Option<String>,
    /// File of texts: .txt (one a line), .jsonl, .csv or .tsv; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["texts", "pair"])]
    file: Option<PathBuf>,
    #[command(flatten)]
    fields: Fields,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    if kind_of(&args.model)? == ModelKind::Speech {
        bail!(
            "{}: this model takes sound, not text: use `caldera transcribe --model DIR FILE…`",
            args.model.display()
        );
    }
    let options = args.fields.options(args.model, None, Vec::new(), None);
    let texts: Vec<(String, Option<String>)> = match &args.file {
        Some(path) if path != Path::new("-") => {
            let fields = DataFields::from_config(&options.data).unlabelled();
            read_records(path, &fields, None)?
                .into_iter()
                .map(|record| (record.text, record.pair))
                .collect()
        }
        None if !args.texts.is_empty() => {
            if args.pair.is_some() && args.texts.len() > 1 {
                bail!(
                    "--pair goes with one text, but {} were given",
                    args.texts.len()
                );
            }
            args.texts
                .into_iter()
                .map(|text| (text, args.pair.clone()))
                .collect()
        }
        _ => from_standard_input()?,
    };
    let predictions = crate::predict(&options, &texts)?;
    for ((text, pair), prediction) in texts.iter().zip(&predictions) {
        let probability = prediction
            .probabilities
            .get(prediction.label)
            .copied()
            .unwrap_or(f64::NAN);
        if args.json {
            let mut value = json!({ "text": text, "label": prediction.label, "name": prediction.name, "probabilities": prediction.probabilities });
            if let Some(pair) = pair {
                value["pair"] = json!(pair);
            }
            output::line(&value.to_string())?;
        } else {
            output::line(&format!("{}\t{probability:.4}\t{text}", prediction.name))?;
        }
    }
    Ok(Outcome::Done)
}

fn from_standard_input() -> Result<Vec<(String, Option<String>)>> {
    let input = std::io::stdin();
    if input.is_terminal() {
        eprintln!("reading texts from standard input, one a line, to the end of input (Ctrl-D)");
    }
    let lines: Vec<String> = input
        .lock()
        .lines()
        .collect::<Result<_, _>>()
        .context("standard input: not text in UTF-8")?;
    let texts: Vec<_> = lines
        .into_iter()
        .filter(|line| !line.trim().is_empty())
        .map(|line| (line, None))
        .collect();
    if texts.is_empty() {
        bail!("no texts: give them as arguments, with --file, or on standard input");
    }
    Ok(texts)
}
