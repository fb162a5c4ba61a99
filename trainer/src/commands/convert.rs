//! `caldera convert`

use super::flags::{CaldFlags, RunFlags};
use super::{Outcome, finetune, interrupt};
use crate::cald::check_output;
use crate::config::{Guide, RunConfig};
use crate::report::progress::Progress;
use anyhow::{Result, bail};

const EXAMPLE: &str = "\
Example:
  caldera convert --guide target --teacher runs/teacher/best --k 256 --init normal --alpha-layer 1 \\
    --train train.jsonl --valid valid.jsonl --epochs 3 --lr 1e-4 --out runs/student
  caldera convert --guide trajectory --initial minilm --train train.jsonl --valid valid.jsonl --out runs/student
  caldera convert --task ctc --guide target --teacher runs/asr/best --d-state 64 --train train.jsonl --valid valid.jsonl --out runs/asr-student
The run folder gets config.toml, metrics.jsonl, report.html, best/ and last/ (Hugging Face layout) and state/ (for --resume).";

/// Replace a transformer's attention and train the student by layerwise distillation (CALD)
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    #[command(flatten)]
    cald: CaldFlags,
    #[command(flatten)]
    run: RunFlags,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let mut config = args.run.resolve(args.cald.source(), true)?;
    args.cald.apply(&mut config);
    config.check_task()?;
    config.validate()?;
    need_models(&config)?;
    finetune::need_training_files(&config, true)?;
    check_output(&config, true)?;
    let stop = interrupt::stop_flag()?;
    let guide = format!("{:?}", config.cald.guide).to_lowercase();
    let summary = crate::convert(
        &config,
        &stop,
        &mut Progress::new(format!("convert {guide}")),
    );
    finetune::finish("convert", &config, summary)
}

/// Says which flag is missing, in the words of the command line.
fn need_models(config: &RunConfig) -> Result<()> {
    let cald = &config.cald;
    if config.model.is_none() && cald.teacher.is_none() {
        bail!(
            "no transformer to convert: give --teacher DIR (a fine-tuned one), --initial DIR (a pretrained one) or both"
        );
    }
    match cald.first_guide() {
        Guide::Target if cald.teacher.is_none() => {
            bail!(
                "guide target needs the fine-tuned transformer: give --teacher DIR, or choose --guide trajectory or unguided"
            )
        }
        Guide::Trajectory if config.model.is_none() => {
            bail!("guide trajectory needs the pretrained transformer: give --initial DIR")
        }
        Guide::Waypoint if cald.waypoints.is_empty() => {
            bail!(
                "guide waypoint needs saved checkpoints: give --waypoints DIR (`finetune --checkpoints N` writes OUT/checkpoints)"
            )
        }
        _ => Ok(()),
    }
}
