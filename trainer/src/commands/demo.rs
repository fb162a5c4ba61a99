//! `caldera demo`

use super::{Outcome, export, flags::choice, interrupt, output};
use crate::config::DeviceChoice;
use crate::demo::{self, Plan};
use anyhow::{Context, Result};
use std::path::PathBuf;

const EXAMPLE: &str = "\
Example:
  caldera demo --out web/pairs/demo
Trains a small teacher on generated documents (a question in the first word, its answer up to 500 words away), converts it under every
guide at equal training, prints the table and writes the teacher and the best guided student as a pair for the page.";

/// The built-in walk on generated data, in a few minutes on a CPU
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// Folder of the pair to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed of documents, parameters and orders
    #[arg(long, value_name = "N", default_value_t = Plan::default().seed)]
    seed: u64,
    /// auto, gpu or cpu
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = choice::<DeviceChoice>)]
    device: DeviceChoice,
    /// Keep data and runs in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let stop = interrupt::stop_flag()?;
    let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
    let work = args.keep.as_deref().unwrap_or(temporary.path());
    let plan = Plan {
        seed: args.seed,
        device: args.device,
        ..Plan::default()
    };
    let Some(result) = demo::run(&plan, work, &stop)? else {
        eprintln!("interrupted; no pair was written");
        return Ok(Outcome::Interrupted);
    };
    output::line(&demo::table(&result.rows))?;
    export::demo_pair(&result, &args.out)?;
    output::line(&format!(
        "pair of the teacher and the {} student: {}",
        result.best.name,
        args.out.display()
    ))?;
    output::line(&format!("{:.0} s in all", result.seconds))?;
    Ok(Outcome::Done)
}
