//! The loop: steps, evaluation, checkpoints, early stopping, a stop that saves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};

use super::family::Family;
use super::folder;
use super::output::{Output, write_config};
use super::run::Run;
use super::state::{Progress, State};
use crate::metrics::{
    JsonLines, MetricsLine, Observer, RunStart, RunSummary, SavedKind, StopReason,
};
use caldera_models::Parameters;

/// Runs to the end, or until `stop`.
pub(super) fn drive<F: Family>(
    mut run: Run<F>,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<RunSummary> {
    let output = run.config.output.clone();
    std::fs::create_dir_all(&output)
        .with_context(|| format!("{}: cannot be made", output.display()))?;
    let state = State::new(&output);
    let mut progress = match run.config.resume && state.exists() {
        true => state.load(&mut run)?,
        false => {
            if run.config.resume {
                observer.message("no state to go on from: starting afresh");
            }
            folder::clear(&output)?;
            Progress::default()
        }
    };
    write_config(&run.config)?;
    let counts = run.family.counts();
    let start = RunStart {
        task: run.task.clone(),
        device: run.device_line.clone(),
        total_steps: run.total_steps,
        steps_per_epoch: run.steps_per_epoch,
        resumed_from: progress.step,
        train_examples: counts.labelled,
        unlabelled_examples: counts.unlabelled,
        valid_examples: counts.valid,
        parameters: run.student.num_parameters(),
    };
    let lines = JsonLines::open(&output.join("metrics.jsonl"), progress.step)?;
    let mut out = Output {
        folder: output,
        lines,
        observer,
    };
    out.lines.write(&MetricsLine::Start(start.clone()));
    out.observer.started(&start);

    let (started, before) = (Instant::now(), progress.seconds);
    let mut stopped = progress.stopped_early.then_some(StopReason::EarlyStopping);
    while progress.step < run.total_steps && stopped.is_none() {
        let log = (progress.step + 1).is_multiple_of(run.config.train.log_every)
            || progress.step == 0
            || progress.step + 1 == run.total_steps;
        let mut record = run.step(progress.step, log)?;
        progress.step += 1;
        record.elapsed = started.elapsed().as_secs_f64();
        progress.seconds = before + record.elapsed;
        if log {
            out.lines.write(&MetricsLine::Step(record.clone()));
        }
        out.observer.step(&record);
        if run.checkpoint_due(progress.step) {
            out.model(&run.student, progress.step, SavedKind::Checkpoint)?;
        }
        let evaluated = run.evaluation_due(progress.step);
        if evaluated {
            stopped = evaluate_and_keep(&mut run, &mut progress, &mut out)?;
            progress.stopped_early = stopped.is_some();
            progress.seconds = before + started.elapsed().as_secs_f64();
        }
        let save = match run.config.train.save_every {
            Some(every) => progress.step.is_multiple_of(every),
            None => evaluated || run.ends_epoch(progress.step),
        };
        let ends = progress.step == run.total_steps || stopped.is_some();
        if stop.load(Ordering::Relaxed) && !ends {
            stopped = Some(StopReason::Interrupted);
        }
        if save && !ends && stopped.is_none() {
            out.state(&run, &progress)?;
        }
    }
    if out_of_date(&progress, &start, &out) {
        out.model(&run.student, progress.step, SavedKind::Last)?;
        if counts.valid == 0 && stopped.is_none() {
            // Nothing to choose by: the last is the best there is.
            out.model(&run.student, progress.step, SavedKind::Best)?;
        }
        out.state(&run, &progress)?;
    }
    let summary = RunSummary {
        output: out.folder.clone(),
        stopped: stopped.unwrap_or(StopReason::Finished),
        steps: progress.step,
        best: progress.best,
        last: progress.last,
        seconds: progress.seconds,
        parameters: start.parameters,
    };
    out.lines.write(&MetricsLine::End(summary.clone()));
    out.observer.finished(&summary);
    out.lines.close()?;
    Ok(summary)
}

/// Whether `last/` and `state/` are behind: not where a finished run is resumed.
fn out_of_date(progress: &Progress, start: &RunStart, out: &Output<'_>) -> bool {
    progress.step > start.resumed_from || !out.folder.join("last/config.json").exists()
}

fn evaluate_and_keep<F: Family>(
    run: &mut Run<F>,
    progress: &mut Progress,
    out: &mut Output<'_>,
) -> Result<Option<StopReason>> {
    let record = run.evaluate(progress.step, progress.best.as_ref(), out.observer)?;
    out.lines.write(&MetricsLine::Eval(record.clone()));
    out.observer.evaluated(&record);
    progress.last = Some(record.clone());
    if record.best {
        out.model(&run.student, progress.step, SavedKind::Best)?;
        progress.best = Some(record);
        progress.stale = 0;
        return Ok(None);
    }
    progress.stale += 1;
    let patience = run.config.train.patience;
    Ok(patience
        .filter(|patience| progress.stale >= *patience)
        .map(|_| StopReason::EarlyStopping))
}
