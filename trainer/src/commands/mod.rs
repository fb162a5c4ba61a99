//! The command line: one file a command.

mod bench;
mod bench_ops;
mod check;
mod convert;
mod demo;
mod eval;
mod export;
mod export_index;
mod export_speech;
mod finetune;
mod flags;
mod forward;
mod forward_speech;
mod generate;
mod interrupt;
mod join;
mod output;
mod predict;
mod transcribe;

pub use flags::RunFlags;

use crate::panics::panic_text;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Converts pretrained transformers into linear-time models and compares the two.
///
/// Results go to standard output, progress and errors to standard error. Exit code 0: done; 1: something failed; 2: the command line or
/// a variable of the environment is wrong; 130: interrupted, with everything saved.
#[derive(Parser)]
#[command(name = "caldera", version, propagate_version = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Example: a teacher, a student guided by it, a pair for the page
  caldera finetune --model minilm --train train.jsonl --valid valid.jsonl --epochs 2 --out runs/teacher
  caldera convert --guide target --teacher runs/teacher/best --train train.jsonl --valid valid.jsonl --out runs/student
  caldera export --teacher runs/teacher/best --student runs/student/best --name polarity --out web/pairs/polarity

Environment, where the choice of the program is not the one wanted:
  CALDERA_TUNING=hardware|software   layout of the kernels on a GPU
  CALDERA_PRODUCT=tiled|burn         product of matrices on a GPU
  CALDERA_SIMD=baseline|avx2|avx512  widest instructions on the CPU";

#[derive(Subcommand)]
enum Command {
    Finetune(Box<finetune::Args>),
    Convert(Box<convert::Args>),
    Eval(eval::Args),
    Predict(predict::Args),
    Generate(generate::Args),
    Transcribe(transcribe::Args),
    Join(join::Args),
    Export(export::Args),
    Bench(bench::Args),
    Forward(forward::Args),
    Check(check::Args),
    Demo(demo::Args),
}

/// What a command that did its work leaves to say.
pub(crate) enum Outcome {
    /// Exit code 0.
    Done,
    /// Exit code 1, with everything already said.
    Missed,
    /// Exit code 130.
    Interrupted,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| "error".into()),
        )
        .init();
    // A panic is a bug of ours, not of the input: it is told as such, in one place and without a wall of text.
    std::panic::set_hook(Box::new(|info| {
        tracing::debug!("{info}\n{}", std::backtrace::Backtrace::force_capture())
    }));
    // A choice that is not understood would go unnoticed: what is forced shows in no result.
    if let Err(error) = caldera_shaders::check_environment() {
        tell(&error.into());
        return ExitCode::from(2);
    }
    let ran = std::panic::catch_unwind(|| match cli.command {
        Command::Finetune(args) => finetune::run(*args),
        Command::Convert(args) => convert::run(*args),
        Command::Eval(args) => eval::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Transcribe(args) => transcribe::run(args),
        Command::Join(args) => join::run(args),
        Command::Export(args) => export::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Forward(args) => forward::run(args),
        Command::Check(args) => check::run(args),
        Command::Demo(args) => demo::run(args),
    });
    match ran {
        Ok(Ok(Outcome::Done)) => ExitCode::SUCCESS,
        Ok(Ok(Outcome::Missed)) => ExitCode::FAILURE,
        Ok(Ok(Outcome::Interrupted)) => ExitCode::from(130),
        // The reader of a pipe went away (`| head`): it has what it wanted.
        Ok(Err(error)) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            tell(&error);
            ExitCode::FAILURE
        }
        Err(panic) => {
            eprintln!("error: {}", panic_text(&*panic));
            eprintln!(
                "  this is a bug or a machine out of memory; RUST_LOG=caldera_trainer=debug shows where it happened"
            );
            ExitCode::FAILURE
        }
    }
}

/// The error, then its causes, each on a line; a cause that its parent already quotes is left out.
fn tell(error: &anyhow::Error) {
    let mut said = error.to_string();
    eprintln!("error: {said}");
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        if !said.contains(&text) {
            eprintln!("  because: {text}");
            said = text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_command_shows_an_example() {
        fn walk(command: &clap::Command, seen: &mut usize) {
            *seen += 1;
            let help = command
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                help.contains("Example") && help.contains("caldera "),
                "{}: no example",
                command.get_name()
            );
            command.get_subcommands().for_each(|c| walk(c, seen));
        }
        let command = Cli::command();
        command.clone().debug_assert();
        let mut seen = 0;
        walk(&command, &mut seen);
        assert!(seen >= 12, "{seen} commands");
    }
}
