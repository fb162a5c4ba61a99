//! `caldera bench`

use super::{Outcome, flags::choice, output};
use crate::bench::{latency, stretch::stretch, training_step};
use crate::config::DeviceChoice;
use crate::model::{ModelKind, kind_of};
use crate::report::write_whole;
use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use caldera_models::{Checkpoint, LanguageModel, Parameters, SpeechModel, TextModel};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const EXAMPLE: &str = "\
Example:
  caldera bench latency --teacher runs/teacher/best --student runs/student/best --lengths 64,128,256,512 --json latency.json
  caldera bench train --model minilm --batch 32 --length 64 --json train.json
  caldera bench ops --lengths 512,1024,2048 --json ops.json";

/// Measure time and memory
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Latency(LatencyArgs),
    Train(TrainArgs),
    Ops(super::bench_ops::Args),
}

const LATENCY_EXAMPLE: &str = "\
Example:
  caldera bench latency --teacher web/pairs/demo/transformer --student web/pairs/demo/linear --lengths 64,128,256,512 --json latency.json
  caldera bench latency --teacher runs/asr/best --student runs/asr-student/best --seconds 1,2,4,8,16,32,64,120
Of language models it is the time to read a prompt of that length.";

/// Forward pass of a transformer and its student over length: median, 10th and 90th percentile, peak bytes
#[derive(clap::Args)]
#[command(after_help = LATENCY_EXAMPLE)]
struct LatencyArgs {
    /// Folder of the transformer
    #[arg(long, value_name = "DIR")]
    teacher: PathBuf,
    /// Folder of the linear student
    #[arg(long, value_name = "DIR")]
    student: PathBuf,
    /// Sequence lengths in tokens [default: 64,128,256,512]
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    lengths: Vec<usize>,
    /// Lengths in seconds of audio, for speech models
    #[arg(
        long,
        value_name = "N,N,…",
        value_delimiter = ',',
        default_value = "1,2,4,8,16,32"
    )]
    seconds: Vec<usize>,
    /// Timed runs of each model at each length
    #[arg(long, value_name = "N", default_value_t = 15)]
    runs: usize,
    /// Repeat position tables up to N tokens, to time lengths that the models were not trained for (their answers mean nothing then)
    #[arg(long, value_name = "N")]
    stretch: Option<usize>,
    /// Sequences in a batch
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Seed of the token ids
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// auto, gpu or cpu
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = choice::<DeviceChoice>)]
    device: DeviceChoice,
    /// Write the figures there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl LatencyArgs {
    fn lengths_in_tokens(&self) -> Vec<usize> {
        match self.lengths.is_empty() {
            true => vec![64, 128, 256, 512],
            false => self.lengths.clone(),
        }
    }
}

const TRAIN_EXAMPLE: &str = "\
Example:
  RAYON_NUM_THREADS=2 caldera bench train --model minilm --batch 32 --length 64 --steps 10 --device cpu --json train.json";

/// One training step (forward, cross entropy, backward, clipping, AdamW) and one forward pass
#[derive(clap::Args)]
#[command(after_help = TRAIN_EXAMPLE)]
struct TrainArgs {
    /// Folder of the model; a bare encoder gets a head of two labels
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Sequences in a batch
    #[arg(long, value_name = "N", default_value_t = 32)]
    batch: usize,
    /// Tokens in a sequence
    #[arg(long, value_name = "N", default_value_t = 64)]
    length: usize,
    /// Timed steps, after one that warms up
    #[arg(long, value_name = "N", default_value_t = 10)]
    steps: usize,
    /// Train without dropout
    #[arg(long)]
    no_dropout: bool,
    /// auto, gpu or cpu
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = choice::<DeviceChoice>)]
    device: DeviceChoice,
    /// Write the figures there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    match args.what {
        What::Latency(args) => latency(args),
        What::Train(args) => train(args),
        What::Ops(args) => super::bench_ops::run(args),
    }
}

fn latency(args: LatencyArgs) -> Result<Outcome> {
    let (device, adapter) = crate::select_device(args.device)?;
    eprintln!("device: {adapter}");
    match kind_of(&args.teacher)? {
        ModelKind::Speech => {
            if args.stretch.is_some() || !args.lengths.is_empty() {
                bail!(
                    "speech models are timed over seconds of audio: give --seconds 1,2,4 in place of --lengths and --stretch"
                );
            }
            let load = |folder: &Path| {
                Ok::<_, anyhow::Error>(SpeechModel::load(folder, &device)?.frozen())
            };
            let (transformer, linear) = (load(&args.teacher)?, load(&args.student)?);
            let seconds = args.seconds.clone();
            sweep_lengths(&transformer, &linear, seconds, &args, &device, &adapter)
        }
        ModelKind::Language => {
            if args.stretch.is_some() {
                bail!(
                    "a language model has no table of positions to repeat: in place of --stretch raise \
                     max_position_embeddings in its config.json"
                );
            }
            let load = |folder: &Path| {
                Ok::<_, anyhow::Error>(LanguageModel::load(folder, &device)?.frozen())
            };
            let (transformer, linear) = (load(&args.teacher)?, load(&args.student)?);
            let lengths = args.lengths_in_tokens();
            let done = sweep_lengths(&transformer, &linear, lengths, &args, &device, &adapter)?;
            eprintln!(
                "this is the time to read a prompt; `caldera generate` and the page's sweep tell that of a token"
            );
            Ok(done)
        }
        ModelKind::Text => {
            let load = |folder: &Path| -> Result<TextModel> {
                let mut checkpoint = Checkpoint::read(folder)?;
                if let Some(positions) = args.stretch {
                    stretch(&mut checkpoint, positions)?;
                }
                Ok(TextModel::from_checkpoint(&checkpoint, &device)?.frozen())
            };
            let (transformer, linear) = (load(&args.teacher)?, load(&args.student)?);
            let lengths = args.lengths_in_tokens();
            sweep_lengths(&transformer, &linear, lengths, &args, &device, &adapter)
        }
    }
}

/// Runs the sweep and tells it as it goes.
fn sweep_lengths<M: latency::Subject>(
    transformer: &M,
    linear: &M,
    mut lengths: Vec<usize>,
    args: &LatencyArgs,
    device: &Device,
    adapter: &str,
) -> Result<Outcome> {
    lengths.sort_unstable();
    lengths.dedup();
    let plan = latency::Plan {
        lengths,
        runs: args.runs,
        batch: args.batch,
        seed: args.seed,
    };
    plan.validate(transformer, linear)?;
    let heading = [
        M::UNIT,
        "model",
        "median ms",
        "p10",
        "p90",
        "first ms",
        "peak MiB",
        "ratio",
    ];
    let row = |cells: [String; 8]| {
        let [a, b, rest @ ..] = cells;
        format!(
            "{a:>7} {b:<12} {}",
            rest.map(|cell| format!("{cell:>10}")).join("")
        )
    };
    output::line(&row(heading.map(String::from)))?;
    let mut broken = None;
    let sweep = latency::sweep(transformer, linear, &plan, device, |points| {
        let base = points.first().map_or(f64::NAN, |p| p.median_ms);
        for p in points {
            let peak = p.peak_bytes.map_or("-".into(), |b| {
                format!("{:.2}", b as f64 / (1 << 20) as f64)
            });
            let cells = [
                p.length.to_string(),
                p.model.to_string(),
                format!("{:.2}", p.median_ms),
                format!("{:.2}", p.p10_ms),
                format!("{:.2}", p.p90_ms),
                format!("{:.1}", p.first_ms),
                peak,
                format!("{:.2}", p.median_ms / base),
            ];
            broken = broken.take().or(output::line(&row(cells)).err());
        }
    })?;
    if let Some(error) = broken {
        return Err(error);
    }
    let show = |slope: Option<f64>| slope.map_or("-".into(), |s| format!("{s:.2}"));
    let s = &sweep.slopes;
    output::line(&format!(
        "log-log slopes from {} {} up: time transformer {}, linear {}; peak bytes transformer {}, linear {}",
        M::SLOPE_FROM,
        M::UNIT,
        show(s.transformer_time),
        show(s.linear_time),
        show(s.transformer_peak),
        show(s.linear_peak)
    ))?;
    output::line(&match sweep.crossover_length {
        Some(length) => format!(
            "the linear model is no slower from {length:.1} {} up",
            M::UNIT
        ),
        None => "the linear model is slower at the longest length measured".into(),
    })?;
    if let Some(path) = &args.json {
        let name = |folder: &Path| folder.display().to_string();
        let mut value = json!({
            "device": adapter, "adapter": crate::device::adapter().map(|a| a.name), "browser": null, "versions": versions(),
            "pair": { "transformer": name(&args.teacher), "linear": name(&args.student) }, "batch": args.batch, "seed": args.seed, "stretch": args.stretch,
        });
        let figures = serde_json::to_value(&sweep).context("figures that are no JSON")?;
        if let (Value::Object(out), Value::Object(figures)) = (&mut value, figures) {
            out.extend(figures);
        }
        write_json(path, &value)?;
    }
    Ok(Outcome::Done)
}

fn train(args: TrainArgs) -> Result<Outcome> {
    let (device, adapter) = crate::select_device(args.device)?;
    eprintln!("device: {adapter}");
    let plan = training_step::Plan {
        batch: args.batch,
        length: args.length,
        steps: args.steps,
        dropout: !args.no_dropout,
        seed: 0,
    };
    if kind_of(&args.model)? != ModelKind::Text {
        bail!(
            "{}: the training step is measured of encoders of texts (BERT, RoBERTa); of other models, `finetune` and \
             `convert` write the time of every step to metrics.jsonl",
            args.model.display()
        );
    }
    let figures = training_step::measure(TextModel::load(&args.model, &device)?, &plan, &device)?;
    output::line(&format!(
        "training step {:.1} ms (p10 {:.1}, p90 {:.1}), forward {:.1} ms (p10 {:.1}, p90 {:.1}), medians of {} at batch {}, length {}",
        figures.train_step_ms,
        figures.train_step_p10_ms,
        figures.train_step_p90_ms,
        figures.forward_ms,
        figures.forward_p10_ms,
        figures.forward_p90_ms,
        args.steps,
        args.batch,
        args.length
    ))?;
    if let Some(path) = &args.json {
        let mut value = serde_json::to_value(&figures).context("figures that are no JSON")?;
        value["device"] = json!(adapter);
        value["model"] = json!(args.model.display().to_string());
        value["versions"] = versions();
        write_json(path, &value)?;
    }
    Ok(Outcome::Done)
}

pub(super) fn versions() -> Value {
    json!({ "caldera": env!("CARGO_PKG_VERSION"), "os": std::env::consts::OS, "architecture": std::env::consts::ARCH })
}

pub(super) fn write_json(path: &Path, value: &Value) -> Result<()> {
    store_json(path, value)?;
    eprintln!("figures: {}", path.display());
    Ok(())
}

/// The same without a word, for figures that are not all there yet.
pub(super) fn store_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("figures that are no JSON")? + "\n";
    write_whole(path, text.as_bytes())
}
