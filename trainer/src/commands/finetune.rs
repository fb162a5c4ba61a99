//! `caldera finetune`

use super::{Outcome, flags::RunFlags, interrupt, output};
use crate::cald::check_output;
use crate::config::RunConfig;
use crate::metrics::{RunSummary, StopReason};
use crate::report::{self, progress::Progress};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

const EXAMPLE: &str = "\
Example:
  caldera finetune --model minilm --train train.jsonl --valid valid.jsonl --epochs 2 --lr 5e-5 --out runs/teacher
  caldera finetune --task lm --architecture config.json --tokenizer bpe:512 --train train.txt --valid valid.txt --out runs/lm
  caldera finetune --task ctc --architecture config.json --sampling-rate 8000 --train train.jsonl --valid valid.jsonl --out runs/asr
The run folder gets config.toml, metrics.jsonl, report.html, best/ and last/ (Hugging Face layout) and state/ (for --resume).
Keys of the TOML file: those of config.toml in any run folder.";

/// Fine-tune a transformer in Hugging Face layout on a classification task, on running text or on speech
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// Folder of the model to start from; a bare encoder gets a new head
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// config.json of a language or speech model to start from random weights, in place of --model
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    architecture: Option<PathBuf>,
    /// byte, bpe:SIZE (trained on the training text) or a folder with a tokenizer.json, with --architecture [default: byte]
    #[arg(long, value_name = "NAME", requires = "architecture")]
    tokenizer: Option<String>,
    /// Samples a second of a speech model made anew [default: 16000]
    #[arg(long, value_name = "RATE", requires = "architecture")]
    sampling_rate: Option<u32>,
    #[command(flatten)]
    run: RunFlags,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let mut config = args.run.resolve(
        args.model.as_deref().or(args.architecture.as_deref()),
        false,
    )?;
    if args.model.is_some() {
        config.model = args.model;
    }
    if args.architecture.is_some() {
        config.architecture = args.architecture;
    }
    if let Some(rate) = args.sampling_rate {
        config.data.sampling_rate = rate;
    }
    if args.tokenizer.is_some() {
        config.data.tokenizer = args.tokenizer;
    }
    config.check_task()?;
    config.validate()?;
    if config.model.is_none() && config.architecture.is_none() {
        bail!(
            "no model to start from: give --model DIR (or `model` in the --config file), or for a language or \
             speech model --architecture FILE"
        );
    }
    need_training_files(&config, false)?;
    check_output(&config, false)?;
    let stop = interrupt::stop_flag()?;
    let summary = crate::finetune(&config, &stop, &mut Progress::new("finetune"));
    finish("finetune", &config, summary)
}

/// A run without data fails before anything is loaded.
pub(super) fn need_training_files(config: &RunConfig, converting: bool) -> Result<()> {
    let data = &config.data;
    // A conversion may learn from its teacher alone; under which guide, the run itself says.
    if data.train.is_empty() && (!converting || data.unlabelled.is_empty()) {
        bail!("no training data: give --train FILE, or data.train in the --config file");
    }
    for path in data.train.iter().chain(&data.valid).chain(&data.unlabelled) {
        std::fs::File::open(path)
            .with_context(|| format!("{}: cannot open the data file", path.display()))?;
    }
    Ok(())
}

/// Writes the report, says where things are, and how to go on.
pub(super) fn finish(
    command: &str,
    config: &RunConfig,
    summary: Result<RunSummary>,
) -> Result<Outcome> {
    let run: &Path = &config.output;
    if run.join("metrics.jsonl").is_file() {
        report::run::write_or_warn(run);
    }
    let summary = summary?;
    if summary.stopped == StopReason::Interrupted {
        // The run's own config.toml holds every setting, whatever flags there were.
        let file = run.join("config.toml");
        eprintln!(
            "interrupted after step {}; everything is saved. To go on:",
            summary.steps
        );
        eprintln!(
            "  caldera {command} --config {} --out {} --resume",
            quoted(&file),
            quoted(run)
        );
        return Ok(Outcome::Interrupted);
    }
    if let Some(best) = &summary.best {
        output::line(&format!(
            "best {} (loss {:.4}) at step {}: {}",
            best.score.headline(),
            best.score.loss,
            best.step,
            run.join("best").display()
        ))?;
    }
    output::line(&format!("last weights: {}", run.join("last").display()))?;
    Ok(Outcome::Done)
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text
        .chars()
        .all(|c| c.is_alphanumeric() || "/._-+=:@%".contains(c));
    if plain {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_blanks_are_quoted() {
        assert_eq!(quoted(Path::new("runs/a-1")), "runs/a-1");
        assert_eq!(quoted(Path::new("my runs/it's")), "'my runs/it'\\''s'");
    }
}
