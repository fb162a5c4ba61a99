//! `caldera join`

use super::{Outcome, output};
use crate::data::{Fields, Joining, join, read_manifests};
use crate::report::write_whole;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

const EXAMPLE: &str = "\
Example: utterances of one to five spoken digits, each of one speaker
  caldera join --manifest digits/train.jsonl --per 1..5 --count 4000 --seed 1 --gap 0.1 --out digits/train-connected.jsonl
No sound is copied: the new manifest lists the files, {\"audio\": [\"a.wav\", \"b.wav\"], \"gap\": 0.1, \"text\": \"two one\"}.";

/// Make connected utterances by joining short clips of one speaker, as a new speech manifest
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// Manifests of the clips (.jsonl with the fields audio, text and, where there are several, speaker)
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    manifest: Vec<PathBuf>,
    /// Clips of an utterance: fewest and most (1..5), or one number
    #[arg(long, value_name = "A..B", default_value = "1..5", value_parser = range)]
    per: [usize; 2],
    /// Utterances
    #[arg(long, value_name = "N")]
    count: usize,
    /// Seconds of silence between clips
    #[arg(long, value_name = "SECONDS", default_value_t = 0.1)]
    gap: f64,
    /// Decides which clips are joined
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// The manifest to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn range(text: &str) -> Result<[usize; 2], String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str| text.trim_start_matches('=').parse::<usize>().ok();
    match (number(least), number(most)) {
        (Some(least), Some(most)) if 1 <= least && least <= most && most <= 1000 => {
            Ok([least, most])
        }
        _ => Err("expected a number from 1 to 1000 (3), or the fewest and the most (1..5)".into()),
    }
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    if args.count == 0 {
        bail!("--count 0: expected at least one utterance");
    }
    if !(0.0..=60.0).contains(&args.gap) {
        bail!("--gap {}: expected 0 to 60 seconds", args.gap);
    }
    let clips = read_manifests(&args.manifest, &Fields::default(), None)?;
    let joining = Joining {
        per: args.per,
        count: args.count,
        gap: args.gap,
        seed: args.seed,
    };
    let folder = args
        .out
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{}: cannot be made", folder.display()))?;
    let lines = join(&clips, &joining, folder)?;
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    write_whole(&args.out, text.as_bytes())?;
    output::line(&format!(
        "{}: {} utterances of {} to {} of {} clips, joined with {} s of silence",
        args.out.display(),
        lines.len(),
        args.per[0],
        args.per[1],
        clips.len(),
        args.gap
    ))?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges() {
        assert_eq!(range("1..5"), Ok([1, 5]));
        assert_eq!(range("1..=5"), Ok([1, 5]));
        assert_eq!(range("3"), Ok([3, 3]));
        for bad in ["0..2", "5..1", "a", "1..", ""] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
