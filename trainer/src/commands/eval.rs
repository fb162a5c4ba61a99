//! `caldera eval`

use super::flags::choice;
use super::{Outcome, output};
use crate::cald::{EvalOptions, Evaluation};
use crate::config::{DataConfig, DeviceChoice};
use crate::metrics::Silent;
use anyhow::{Result, bail};
use serde_json::{Value, json};
use std::path::PathBuf;

const EXAMPLE: &str = "\
Example:
  caldera eval --model runs/student/best --teacher runs/teacher/best --data valid.jsonl --json
  {\"examples\": 1066, \"loss\": 0.51, \"accuracy\": 0.79, \"agreement\": 0.88, …}";

/// Loss and accuracy of a model on labelled examples, perplexity of a language model, error rates of a speech model
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// Folder of the model
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Labelled examples (.jsonl, .csv or .tsv); for a language model text (.txt or .jsonl), for a speech model a manifest (.jsonl)
    #[arg(long, visible_alias = "valid", value_name = "FILE", num_args = 1..)]
    data: Vec<PathBuf>,
    /// The same as --data
    #[arg(value_name = "FILE", conflicts_with = "data")]
    files: Vec<PathBuf>,
    /// A second model; the share of equal answers is told as `agreement`
    #[arg(long, value_name = "DIR")]
    teacher: Option<PathBuf>,
    #[command(flatten)]
    fields: Fields,
    /// Use only the first N examples
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How examples are read and computed.
#[derive(clap::Args, Default)]
pub(super) struct Fields {
    /// Field or column of the text [default: text, text_a, sentence or sentence1]
    #[arg(long, value_name = "NAME")]
    text_field: Option<String>,
    /// Field or column of the second text of a pair
    #[arg(long, value_name = "NAME")]
    pair_field: Option<String>,
    /// Field or column of the label [default: label]
    #[arg(long, value_name = "NAME")]
    label_field: Option<String>,
    /// Names of the labels in the order of their numbers [default: the model's]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',')]
    labels: Vec<String>,
    /// Tokens of a block of text (language models)
    #[arg(long, value_name = "N", default_value_t = 256)]
    block_length: usize,
    /// Longest sequence in tokens [default: as long as the model can take]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Longest clip in seconds (speech)
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    max_seconds: f64,
    /// Examples in a forward pass [default: 64 texts, 16 clips, or what a large vocabulary leaves of 64 blocks of text]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// auto, gpu or cpu
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = choice::<DeviceChoice>)]
    device: DeviceChoice,
}

impl Fields {
    /// Options for the engine.
    pub(super) fn options(
        self,
        model: PathBuf,
        teacher: Option<PathBuf>,
        valid: Vec<PathBuf>,
        valid_limit: Option<usize>,
    ) -> EvalOptions {
        let defaults = DataConfig::default();
        let data = DataConfig {
            valid,
            valid_limit,
            text_field: self.text_field,
            pair_field: self.pair_field,
            label_field: self.label_field.unwrap_or(defaults.label_field),
            labels: self.labels,
            max_length: self.max_length,
            max_seconds: self.max_seconds,
            block_length: self.block_length.max(1),
            ..DataConfig::default()
        };
        EvalOptions {
            model,
            teacher,
            data,
            batch_size: self.batch_size.unwrap_or(0),
            device: self.device,
        }
    }
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let files = if args.data.is_empty() {
        args.files
    } else {
        args.data
    };
    if files.is_empty() {
        bail!("no examples to evaluate on: give --data FILE");
    }
    let evaluation = crate::evaluate(
        &args
            .fields
            .options(args.model, args.teacher, files, args.limit),
        &mut Silent,
    )?;
    if args.json {
        output::json(&to_json(&evaluation))?;
    } else {
        output::line(&format!("examples  {}", evaluation.examples))?;
        output::line(&format!("loss      {:.4}", evaluation.loss))?;
        output::line(&format!("accuracy  {:.4}", evaluation.accuracy))?;
        if let Some(agreement) = evaluation.agreement {
            output::line(&format!("agreement {agreement:.4} with the teacher"))?;
        }
        if let (Some(wer), Some(cer)) = (evaluation.wer, evaluation.cer) {
            output::line(&format!("wer       {wer:.4}"))?;
            output::line(&format!("cer       {cer:.4}"))?;
        }
        if let Some(perplexity) = evaluation.perplexity {
            output::line(&format!("perplexity {perplexity:.3}"))?;
        }
        if let Some(bits) = evaluation.bits_per_byte {
            output::line(&format!("bits a byte {bits:.4}"))?;
        }
        if let Some(teacher) = evaluation.teacher_wer {
            output::line(&format!("teacher's wer {teacher:.4}"))?;
        }
        if let Some(teacher) = evaluation.teacher_accuracy {
            output::line(&format!("teacher   {teacher:.4}"))?;
        }
        if let Some(teacher) = evaluation.teacher_loss {
            output::line(&format!("teacher's loss {teacher:.4}"))?;
        }
        output::line(&format!("seconds   {:.1}", evaluation.seconds))?;
    }
    Ok(Outcome::Done)
}

/// Those of `examples`, `loss`, `accuracy`, `perplexity`, `wer`, `cer` that apply to the task, and what else is known.
pub(super) fn to_json(evaluation: &Evaluation) -> Value {
    let mut value = json!({ "examples": evaluation.examples, "loss": evaluation.loss, "accuracy": evaluation.accuracy });
    let more = [
        ("perplexity", evaluation.perplexity),
        ("wer", evaluation.wer),
        ("cer", evaluation.cer),
        ("bits_per_byte", evaluation.bits_per_byte),
        ("agreement", evaluation.agreement),
        ("teacher_accuracy", evaluation.teacher_accuracy),
        ("teacher_loss", evaluation.teacher_loss),
        ("teacher_wer", evaluation.teacher_wer),
        ("teacher_cer", evaluation.teacher_cer),
        ("seconds", Some(evaluation.seconds)),
    ];
    for (name, figure) in more {
        if let Some(figure) = figure {
            value[name] = json!(figure);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_what_applies_and_nothing_else() {
        let evaluation = Evaluation {
            examples: 8,
            loss: 0.5,
            accuracy: 0.75,
            ..Default::default()
        };
        let value = to_json(&evaluation);
        let keys: Vec<&str> = value
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(keys, ["examples", "loss", "accuracy", "seconds"]);
        assert_eq!(
            (&value["examples"], &value["accuracy"]),
            (&json!(8), &json!(0.75))
        );
    }
}
