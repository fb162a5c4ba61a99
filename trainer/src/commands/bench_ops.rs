//! `caldera bench ops`

use super::bench::{store_json, versions, write_json};
use super::{Outcome, flags::choice, output};
use crate::bench::ops::operator::{MODELS, ModelShape, Operator};
use crate::bench::ops::{ALL, Pass, Plan, Point, Report, sweep};
use crate::config::DeviceChoice;
use anyhow::{Context, Result, bail};
use caldera_shaders::linear::PRODUCT;
use caldera_shaders::tuning::TUNING;
use serde_json::{Value, json};
use std::path::PathBuf;

const EXAMPLE: &str = "\
Example:
  caldera bench ops --ops softmax_attention,linformer_attention --shapes bert-base --lengths 512,1024,2048,4096 --json ops.json";

/// Every operator at the sizes of real layers, forward and backward: time, GB/s and GFLOP/s by count against the device's own copy and matrix
/// product, ratio to plain Burn operations, slope over length. Each is first held against its CPU twin (on a GPU) or its plain form
/// (on the CPU): one that computes something else is not timed
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// Operators [default: all]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', value_parser = operator)]
    ops: Vec<&'static str>,
    /// Models whose layers give the sizes: bert-base, pythia-160m, wav2vec2-base or tiny [default: the first three; tiny with --quick]
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', value_parser = shape)]
    shapes: Vec<&'static str>,
    /// Sequence lengths [default: 128 to 16,384 by doubling; 32 and 96 with --quick]
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    lengths: Vec<usize>,
    /// Sequences in a batch
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: usize,
    /// Most timed runs of a pass [default: 15; 3 with --quick]
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// Seconds for the runs of one pass at one length; lengths at which one run takes longer are left out, of the plain form too
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    budget: f64,
    /// Memory that the plain form may take
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    reference_memory: usize,
    /// Small sizes and few runs, to see that it works: seconds on a CPU
    #[arg(long)]
    quick: bool,
    /// auto, gpu or cpu
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = choice::<DeviceChoice>)]
    device: DeviceChoice,
    /// Write the figures there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Operations of the longest check: about a second on the CPU's side.
const CHECK_FLOPS: f64 = 4e10;

fn find<T>(name: &str, all: impl Iterator<Item = (&'static str, T)> + Clone) -> Result<T, String> {
    let names: Vec<_> = all.clone().map(|(name, _)| name).collect();
    all.into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, found)| found)
        .ok_or_else(|| format!("expected one of {}", names.join(", ")))
}

fn operator(name: &str) -> Result<&'static str, String> {
    find(name, ALL.iter().map(|op| (op.name(), op.name())))
}

fn shape(name: &str) -> Result<&'static str, String> {
    find(name, MODELS.iter().map(|model| (model.name, model.name)))
}

fn plan(args: &Args) -> Plan {
    let operators: Vec<&'static dyn Operator> = ALL
        .into_iter()
        .filter(|op| args.ops.is_empty() || args.ops.contains(&op.name()))
        .collect();
    let wanted = |model: &ModelShape| match args.shapes.as_slice() {
        [] => (model.name == "tiny") == args.quick,
        names => names.contains(&model.name),
    };
    let mut lengths = match args.lengths.as_slice() {
        [] if args.quick => vec![32, 96],
        [] => (7..15).map(|power| 1 << power).collect(),
        lengths => lengths.to_vec(),
    };
    lengths.sort_unstable();
    lengths.dedup();
    Plan {
        operators,
        models: MODELS.iter().filter(|model| wanted(model)).collect(),
        lengths,
        batch: args.batch,
        runs: args.runs.unwrap_or(if args.quick { 3 } else { 15 }),
        budget_s: args.budget,
        reference_bytes: (args.reference_memory << 20) as f64,
        check_flops: CHECK_FLOPS,
        quick: args.quick,
    }
}

fn row(cells: [String; 12]) -> String {
    let [operator, shape, rest @ ..] = cells;
    let rest = rest.map(|cell| format!("{cell:>10}")).join("");
    format!("{operator:<20} {shape:<14}{rest}")
}

fn pass_name(pass: Pass) -> &'static str {
    match pass {
        Pass::Forward => "forward",
        Pass::Backward => "backward",
    }
}

fn cells(p: &Point) -> [String; 12] {
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    [
        p.operator.into(),
        p.shape.into(),
        p.length.to_string(),
        pass_name(p.pass).into(),
        format!("{:.3}", p.median_ms),
        format!("{:.1}", p.bytes / 1e6),
        format!("{:.1}", p.flops / 1e6),
        format!("{:.1}", p.gb_s),
        percent(p.copy_fraction),
        format!("{:.1}", p.gflop_s),
        percent(p.matmul_fraction),
        p.ratio.map_or("-".into(), |ratio| format!("{ratio:.2}x")),
    ]
}

const HEADING: [&str; 12] = [
    "operator",
    "shape",
    "length",
    "pass",
    "median ms",
    "MB",
    "MFLOP",
    "GB/s",
    "of copy",
    "GFLOP/s",
    "of matmul",
    "to plain",
];

pub(super) fn run(args: Args) -> Result<Outcome> {
    let (device, adapter) = crate::select_device(args.device)?;
    eprintln!("device: {adapter}");
    let plan = plan(&args);
    output::line(&row(HEADING.map(String::from)))?;
    let mut broken = None;
    let report = sweep(&plan, &device, |points, so_far| {
        for point in points {
            broken = broken.take().or(output::line(&row(cells(point))).err());
        }
        // A run that is cut off leaves the figures that it had.
        if let (Some(path), None) = (&args.json, &broken) {
            let written = figures(&args, &adapter, so_far).and_then(|f| store_json(path, &f));
            broken = written.err();
        }
    })?;
    if let Some(error) = broken {
        return Err(error);
    }
    output::line(&format!(
        "the device copies {:.1} GB/s and multiplies matrices at {:.1} GFLOP/s",
        report.rates.copy_gb_s, report.rates.matmul_gflop_s
    ))?;
    let show = |slope: Option<f64>| slope.map_or("-".into(), |slope| format!("{slope:.2}"));
    for s in &report.series {
        let ratio = match (s.ratio, s.ratio_length) {
            (Some(ratio), Some(length)) => format!("{ratio:.2}x plain Burn at {length}"),
            _ => "no ratio to plain Burn".into(),
        };
        output::line(&format!(
            "{:<20} {:<14} {:<8} slope {}, {ratio}",
            s.operator,
            s.shape,
            pass_name(s.pass),
            show(s.slope)
        ))?;
    }
    for (operator, shape, checked) in checked_shorter(&report.points) {
        output::line(&format!(
            "{operator:<20} {shape:<14} checked up to {checked} positions: of more, a check takes too long or too much memory"
        ))?;
    }
    for skipped in &report.skipped {
        output::line(&format!(
            "{:<20} {:<14} not at {}: {}",
            skipped.operator, skipped.shape, skipped.length, skipped.reason
        ))?;
    }
    if let Some(path) = &args.json {
        write_json(path, &figures(&args, &adapter, &report)?)?;
    }
    if !report.failed.is_empty() {
        let reasons = report.failed.iter().map(|failed| failed.reason.as_str());
        bail!(
            "{} of the operators were not timed: {}",
            report.failed.len(),
            reasons.collect::<Vec<_>>().join("; ")
        );
    }
    Ok(Outcome::Done)
}

/// Operator, shape and longest check of those that were timed at longer lengths than they were checked at.
fn checked_shorter(points: &[Point]) -> Vec<(&'static str, &'static str, usize)> {
    let mut shorter: Vec<_> = points
        .iter()
        .filter(|point| point.checked_length < point.length)
        .map(|point| (point.operator, point.shape, point.checked_length))
        .collect();
    shorter.dedup();
    shorter
}

fn figures(args: &Args, device: &str, report: &Report) -> Result<Value> {
    let mut value = json!({
        "device": device, "adapter": crate::device::adapter().map(|a| a.name), "versions": versions(), "quick": args.quick,
        "batch": args.batch, "budget_s": args.budget, "tuning": std::env::var(TUNING).ok(), "product": std::env::var(PRODUCT).ok(),
    });
    let figures = serde_json::to_value(report).context("figures that are no JSON")?;
    if let (Value::Object(out), Value::Object(figures)) = (&mut value, figures) {
        out.extend(figures);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_quick_run_has_every_figure() {
        let line = Line::try_parse_from(["x", "--quick", "--device", "cpu"]).unwrap();
        let report = sweep(&plan(&line.args), &burn::tensor::Device::flex(), |_, _| ()).unwrap();
        let text = figures(&line.args, "CPU", &report).unwrap().to_string();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value["copy_gb_s"].as_f64().unwrap() > 0.0);
        assert!(value["matmul_gflop_s"].as_f64().unwrap() > 0.0);
        let points = value["points"].as_array().unwrap();
        for operator in ALL {
            let of_it = points.iter().filter(|p| p["operator"] == operator.name());
            assert!(of_it.count() > 1, "{}", operator.name());
        }
        for point in points {
            for figure in ["median_ms", "bytes", "gb_s", "copy_fraction", "ratio"] {
                let figure = point[figure].as_f64();
                assert!(figure.is_some_and(|f| f > 0.0 && f.is_finite()), "{point}");
            }
            for figure in ["flops", "gflop_s", "matmul_fraction"] {
                let figure = point[figure].as_f64();
                assert!(figure.is_some_and(|f| f >= 0.0), "{point}");
            }
            assert!(point["ratio_reason"].is_null() && point["checked_length"].is_u64());
        }
        for series in value["series"].as_array().unwrap() {
            assert!(series["slope"].is_null() && series["ratio"].is_f64());
        }
    }

    #[test]
    fn names_choose_operators_and_shapes() {
        let words = "x --ops gelu,linear --shapes bert-base --lengths 64,32,64";
        let plan = plan(&Line::try_parse_from(words.split(' ')).unwrap().args);
        let names: Vec<_> = plan.operators.iter().map(|op| op.name()).collect();
        assert_eq!(
            (names, plan.lengths),
            (vec!["gelu", "linear"], vec![32, 64])
        );
        assert_eq!(plan.models[0].name, "bert-base");
        let error = Line::try_parse_from(["x", "--ops", "sigmoid"])
            .err()
            .unwrap();
        assert!(error.to_string().contains("softmax_attention"), "{error}");
    }
}
