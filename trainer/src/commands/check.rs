//! `caldera check`

use super::flags::choice;
use super::{Outcome, output};
use crate::check;
use crate::config::DeviceChoice;
use anyhow::{Context, Result, bail};
use caldera_shaders::fixture::CaseReport;
use std::path::PathBuf;

const EXAMPLE: &str = "\
Example:
  caldera check fixtures --device cpu
  caldera check fixtures/ops/softmax-attention --device gpu --json
  caldera check --device gpu          # without fixtures: does this adapter compute what the CPU does?
Exit code 1 when a case misses its tolerance or cannot be read. Tolerances are those of each case.json on the CPU, ten times those
on a GPU; without fixtures 4e-5 of a tensor's root mean square, and ten times as much of its largest value for a single one.
JSON: {\"cases\": [{\"case\": \"ops/softmax-attention/tiny\", \"known\": true, \"passed\": true,
  \"worst\": {\"tensor\": …, \"error\": …, \"tolerance\": …}, …}]}";

/// Compare every operator, model, loss and tokenizer with stored reference results; without a folder, every operator on the GPU, with its
/// gradients, with the same on the CPU
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// Root of the fixtures, one of its families, or one case
    #[arg(value_name = "DIR")]
    path: Option<PathBuf>,
    /// auto, gpu or cpu
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = choice::<DeviceChoice>)]
    device: DeviceChoice,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    // Looked at first, so that a wrong path is not told after half a minute of device set-up.
    if let Some(path) = &args.path {
        check::find_cases(path)?;
    }
    let (device, line) = crate::select_device(args.device)?;
    if args.path.is_none() && !caldera_shaders::is_gpu(&device) {
        bail!(
            "without a folder of fixtures a GPU is held against the CPU, and this is the CPU ({line}): name a folder, or --device gpu"
        );
    }
    eprintln!("device: {line}");
    let mut broken = None;
    let print = |report: &CaseReport| {
        if !args.json && report.known && broken.is_none() {
            broken = check::print(&mut std::io::stdout().lock(), report).err();
        }
    };
    let reports = match &args.path {
        Some(path) => check::run(path, &device, print)?,
        None => check::run_twins(&device, print),
    };
    if let Some(error) = broken {
        return Err(error).context("standard output");
    }
    if args.json {
        output::json(&check::json(&line, &reports))?;
    } else {
        let names = |wanted: &dyn Fn(&CaseReport) -> bool| -> Vec<String> {
            reports
                .iter()
                .filter(|r| wanted(r))
                .map(|r| r.case.clone())
                .collect()
        };
        let (passed, missed, unknown) = (
            names(&|r| r.known && r.passed),
            names(&|r| r.known && !r.passed),
            names(&|r| !r.known),
        );
        output::line(&format!(
            "\n{} passed, {} missed, {} not known to this build",
            passed.len(),
            missed.len(),
            unknown.len()
        ))?;
        for (heading, names) in [("missed", missed), ("not known", unknown)] {
            for name in names {
                output::line(&format!("  {heading}: {name}"))?;
            }
        }
    }
    Ok(if check::any_missed(&reports) {
        Outcome::Missed
    } else {
        Outcome::Done
    })
}
