//! Progress of a run: bars on a terminal, plain lines where there is none.

use crate::metrics::{
    EvalRecord, Observer, RunStart, RunSummary, SavedKind, SavedRecord, StepRecord,
};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Longest silence without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows a run on stderr.
pub struct Progress {
    label: String,
    bars: Option<Bars>,
    loss: Option<f64>,
    headline: Option<String>,
    last_line: Option<Instant>,
}

struct Bars {
    all: MultiProgress,
    steps: ProgressBar,
    evaluation: Option<ProgressBar>,
}

impl Progress {
    /// `label` stands before every line: `convert target`.
    pub fn new(label: impl Into<String>) -> Self {
        let bars = std::io::stderr().is_terminal().then(|| {
            let all = MultiProgress::new();
            let steps = all.add(ProgressBar::new(0));
            steps.set_style(style(
                "{prefix:<18} {bar:28} {pos}/{len} {elapsed}<{eta} {msg}",
            ));
            steps.enable_steady_tick(Duration::from_millis(250));
            Bars {
                all,
                steps,
                evaluation: None,
            }
        });
        let label = label.into();
        if let Some(bars) = &bars {
            bars.steps.set_prefix(label.clone());
        }
        Self {
            label,
            bars,
            loss: None,
            headline: None,
            last_line: None,
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            // Fails only where stderr does, and then there is nobody to tell.
            Some(bars) => drop(bars.all.println(format!("{}: {text}", self.label))),
            None => eprintln!("{}: {text}", self.label),
        }
    }

    fn state(&self, record: &StepRecord) -> String {
        let mut text = format!("rate {:.2e}", record.learning_rate);
        if let Some(loss) = self.loss {
            text = format!("loss {loss:.4} {text}");
        }
        if let Some(headline) = &self.headline {
            text = format!("{text} {headline}");
        }
        text
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

impl Observer for Progress {
    fn started(&mut self, start: &RunStart) {
        let resumed = if start.resumed_from > 0 {
            format!(", going on after step {}", start.resumed_from)
        } else {
            String::new()
        };
        self.line(&format!(
            "{} steps ({} an epoch), {} training examples, {} without labels, {} for validation, {} parameters{resumed}",
            start.total_steps, start.steps_per_epoch, start.train_examples, start.unlabelled_examples, start.valid_examples, start.parameters
        ));
        if let Some(bars) = &self.bars {
            bars.steps.set_length(start.total_steps);
            bars.steps.set_position(start.resumed_from);
            bars.steps.reset_eta();
        }
        self.last_line = Some(Instant::now());
    }

    fn step(&mut self, record: &StepRecord) {
        self.loss = record.loss.or(self.loss);
        let state = self.state(record);
        match &self.bars {
            Some(bars) => {
                bars.steps.set_position(record.step);
                bars.steps.set_message(state);
            }
            None if self.last_line.is_none_or(|at| at.elapsed() >= LINE_EVERY) => {
                self.last_line = Some(Instant::now());
                self.line(&format!(
                    "step {}/{} {state} {:.0} s",
                    record.step, record.total_steps, record.elapsed
                ));
            }
            None => {}
        }
    }

    fn evaluating(&mut self, done: usize, total: usize) {
        if let Some(bars) = &mut self.bars {
            let bar = bars.evaluation.get_or_insert_with(|| {
                let bar = bars.all.add(ProgressBar::new(total as u64));
                bar.set_style(style("{prefix:<18} {bar:28} {pos}/{len} {elapsed}<{eta}"));
                bar.set_prefix("evaluation");
                bar
            });
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
    }

    fn evaluated(&mut self, record: &EvalRecord) {
        if let Some(bar) = self.bars.as_mut().and_then(|bars| bars.evaluation.take()) {
            bar.finish_and_clear();
        }
        self.headline = Some(record.score.headline());
        let best = if record.best { ", the best so far" } else { "" };
        let teacher = record
            .teacher_wer
            .or(record.teacher_accuracy)
            .map(|a| format!(", teacher in training {a:.4}"))
            .unwrap_or_default();
        self.line(&format!(
            "step {}: {}, loss {:.4} on {} examples{teacher} ({:.1} s{best})",
            record.step,
            record.score.headline(),
            record.score.loss,
            record.examples,
            record.seconds
        ));
        self.last_line = Some(Instant::now());
    }

    fn saved(&mut self, record: &SavedRecord) {
        if record.kind == SavedKind::Checkpoint {
            self.line(&format!(
                "step {}: checkpoint {}",
                record.step,
                record.path.display()
            ));
        }
    }

    fn message(&mut self, line: &str) {
        self.line(line);
    }

    fn finished(&mut self, summary: &RunSummary) {
        if let Some(bars) = &mut self.bars {
            if let Some(bar) = bars.evaluation.take() {
                bar.finish_and_clear();
            }
            bars.steps.finish_and_clear();
        }
        self.line(&format!(
            "{} steps in {:.1} s, in {}",
            summary.steps,
            summary.seconds,
            summary.output.display()
        ));
    }
}
