//! The report of a run folder: `report.html` from `metrics.jsonl` and `config.toml`.

use super::html::{Page, render};
use super::plot::{Axes, Series, svg};
use crate::metrics::{EvalRecord, MetricsLine, RunSummary, StepRecord, StopReason, read_metrics};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// Writes `report.html` into the run folder and returns its path.
///
/// # Errors
/// When the folder's `metrics.jsonl` cannot be read or the report cannot be written.
pub fn write(run: &Path) -> Result<PathBuf> {
    let lines = read_metrics(&run.join("metrics.jsonl"))?;
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap_or_default();
    let path = run.join("report.html");
    super::write_whole(&path, render(&page(run, &lines, &config)).as_bytes())?;
    Ok(path)
}

fn page(run: &Path, lines: &[MetricsLine], config: &str) -> Page {
    let steps: Vec<&StepRecord> = lines
        .iter()
        .filter_map(|l| {
            if let MetricsLine::Step(s) = l {
                Some(s)
            } else {
                None
            }
        })
        .collect();
    let evals: Vec<&EvalRecord> = lines
        .iter()
        .filter_map(|l| {
            if let MetricsLine::Eval(e) = l {
                Some(e)
            } else {
                None
            }
        })
        .collect();
    let starts = || {
        lines.iter().filter_map(|l| {
            if let MetricsLine::Start(s) = l {
                Some(s)
            } else {
                None
            }
        })
    };
    let end = lines.iter().rev().find_map(|l| {
        if let MetricsLine::End(e) = l {
            Some(e)
        } else {
            None
        }
    });
    let task = starts().next().map_or("run", |s| s.task.as_str());
    let mut facts = Vec::new();
    let mut fact = |name: &str, value: String| facts.push((name.to_string(), value));
    if let Some(start) = starts().next_back() {
        fact("device", start.device.clone());
        fact("parameters", start.parameters.to_string());
        let examples = format!(
            "{} train, {} unlabelled, {} valid",
            start.train_examples, start.unlabelled_examples, start.valid_examples
        );
        fact("examples", examples);
    }
    if let Some(best) = evals.iter().rev().find(|e| e.best).or(evals.last()) {
        fact(
            "best",
            format!(
                "{} at step {} (loss {:.4}, {} examples)",
                best.score.headline(),
                best.step,
                best.score.loss,
                best.examples
            ),
        );
    }
    if let Some(last) = evals.last() {
        fact(
            "last",
            format!(
                "{} at step {} (loss {:.4})",
                last.score.headline(),
                last.step,
                last.score.loss
            ),
        );
    }
    let (seconds, ending) = ending(end, &steps);
    fact("seconds", format!("{seconds:.1}"));
    Page {
        title: format!(
            "{task}: {}",
            run.file_name().unwrap_or(run.as_os_str()).to_string_lossy()
        ),
        summary: ending,
        facts,
        plots: plots(&steps, &evals),
        config: flatten(config),
    }
}

fn ending(end: Option<&RunSummary>, steps: &[&StepRecord]) -> (f64, String) {
    let total = steps.last().map_or(0, |s| s.total_steps);
    match end {
        Some(end) => {
            let how = match end.stopped {
                StopReason::Finished => "finished",
                StopReason::EarlyStopping => {
                    "stopped early: no better evaluation for the patience given"
                }
                StopReason::Interrupted => {
                    "interrupted; the state is saved and --resume goes on from it"
                }
            };
            (
                end.seconds,
                format!("{how}, {} of {} steps", end.steps, total.max(end.steps)),
            )
        }
        None => (
            steps.last().map_or(0.0, |s| s.elapsed),
            format!(
                "under way, {} of {total} steps",
                steps.last().map_or(0, |s| s.step)
            ),
        ),
    }
}

fn plots(steps: &[&StepRecord], evals: &[&EvalRecord]) -> Vec<String> {
    let of = |label: &str, value: &dyn Fn(&StepRecord) -> Option<f64>| {
        Series::new(
            label,
            steps
                .iter()
                .filter_map(|s| Some((s.step as f64, value(s)?)))
                .collect(),
        )
    };
    let valid = |label: &str, value: &dyn Fn(&EvalRecord) -> Option<f64>| {
        Series::new(
            label,
            evals
                .iter()
                .filter_map(|e| Some((e.step as f64, value(e)?)))
                .collect(),
        )
    };
    let losses = [
        of("total", &|s| s.loss),
        of("task", &|s| s.task_loss),
        of("teacher's task", &|s| s.teacher_loss),
        valid("validation", &|e| Some(e.score.loss)),
    ];
    let distillation = [
        of("layers", &|s| s.layer_loss),
        of("logits", &|s| s.logits_loss),
    ];
    let accuracy = [
        valid("student or model", &|e| Some(e.score.accuracy)),
        valid("teacher in training", &|e| e.teacher_accuracy),
    ];
    let errors = [
        valid("words", &|e| e.score.wer),
        valid("characters", &|e| e.score.cer),
        valid("teacher in training, words", &|e| e.teacher_wer),
    ];
    let rates = [
        of("rate", &|s| Some(s.learning_rate)),
        of("teacher's rate", &|s| s.teacher_learning_rate),
    ];
    let norms = [of("gradient norm", &|s| s.gradient_norm)];
    let wanted: [(&str, &str, &[Series]); 6] = [
        ("Loss", "loss", &losses),
        (
            "Distillation losses (without their weights)",
            "loss",
            &distillation,
        ),
        ("Validation accuracy", "accuracy", &accuracy),
        ("Validation error rates", "error rate", &errors),
        ("Learning rate", "rate", &rates),
        ("Gradient norm before clipping", "norm", &norms),
    ];
    // A run without evaluation, or an unguided one, has nothing for some of them.
    wanted
        .iter()
        .filter_map(|(title, y, series)| svg(title, "step", y, Axes::Linear, series).ok())
        .collect()
}

/// TOML as dotted keys; nothing when it cannot be parsed.
fn flatten(config: &str) -> Vec<(String, String)> {
    fn walk(prefix: &str, value: &toml::Value, out: &mut Vec<(String, String)>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let name = if prefix.is_empty() {
                        key.clone()
                    } else {
                        format!("{prefix}.{key}")
                    };
                    walk(&name, value, out);
                }
            }
            toml::Value::String(text) => out.push((prefix.into(), text.clone())),
            other => out.push((prefix.into(), other.to_string())),
        }
    }
    let mut out = Vec::new();
    if let Ok(table) = config.parse::<toml::Table>() {
        walk("", &toml::Value::Table(table), &mut out);
    }
    out
}

/// [`write()`], with a failure told as a warning: a run's weights matter more than its picture.
pub fn write_or_warn(run: &Path) {
    match write(run).with_context(|| format!("{}: no report", run.display())) {
        Ok(path) => eprintln!("report: {}", path.display()),
        Err(error) => eprintln!("warning: {error:#}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{RunStart, Score};

    #[test]
    fn a_run_folder_gets_its_plots_and_configuration() {
        let run = tempfile::tempdir().unwrap();
        let start = RunStart {
            task: "convert (target)".into(),
            device: "CPU".into(),
            total_steps: 20,
            steps_per_epoch: 10,
            resumed_from: 0,
            train_examples: 80,
            unlabelled_examples: 0,
            valid_examples: 8,
            parameters: 1234,
        };
        let mut lines = vec![MetricsLine::Start(start)];
        for step in 1..=20u64 {
            lines.push(MetricsLine::Step(StepRecord {
                step,
                total_steps: 20,
                learning_rate: 1e-4 * step as f64,
                loss: Some(1.0 / step as f64),
                layer_loss: Some(0.5),
                ..Default::default()
            }));
        }
        lines.push(MetricsLine::Eval(EvalRecord {
            step: 20,
            score: Score {
                accuracy: 0.875,
                ..Default::default()
            },
            best: true,
            ..Default::default()
        }));
        let text: String = lines
            .iter()
            .map(|l| serde_json::to_string(l).unwrap() + "\n")
            .collect();
        std::fs::write(run.path().join("metrics.jsonl"), text).unwrap();
        std::fs::write(
            run.path().join("config.toml"),
            "seed = 3\n[cald]\nguide = \"target\"\n",
        )
        .unwrap();
        let html = std::fs::read_to_string(write(run.path()).unwrap()).unwrap();
        assert_eq!(
            html.matches("<svg ").count(),
            4,
            "losses, distillation, accuracy, rate"
        );
        for part in [
            "convert (target)",
            "0.8750 at step 20",
            "cald.guide",
            "target",
            "Learning rate",
            "under way",
        ] {
            assert!(html.contains(part), "no `{part}` in the report");
        }
        assert!(write(&run.path().join("nowhere")).is_err());
    }
}
