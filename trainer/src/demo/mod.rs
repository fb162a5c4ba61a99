//! The built-in walk: generated documents, a small teacher, five conversions of it at equal training, one table.

mod plan;
pub mod task;

pub use plan::Plan;

use crate::cald::{EvalOptions, Evaluation};
use crate::config::{
    Guide, InitChoice, RunConfig, ScheduleKind, SharingChoice, StudentFrom, spelled,
};
use crate::metrics::{Observer, RunSummary, Silent, StopReason};
use crate::report::{progress::Progress, write_whole};
use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use caldera_models::{TextConfig, TextModel, WeightDtype};
use serde::Serialize;
use serde_json::json;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// `teacher`, or the guide.
    pub name: String,
    /// Share of right answers on documents that no training saw.
    pub accuracy: f64,
    /// Share of documents on which it answers as the teacher does.
    pub agreement: f64,
    /// Seconds of training.
    pub seconds: f64,
    /// Optimizer steps.
    pub steps: u64,
    /// Accuracy on documents that only choose which student is exported.
    #[serde(skip)]
    choice: f64,
    #[serde(skip)]
    folder: PathBuf,
}

/// What came of the demo.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Teacher first, then the students in the order of [`GUIDES`].
    pub rows: Vec<Row>,
    /// Folder of the teacher.
    pub teacher: PathBuf,
    /// Folder of the best guided student.
    pub student: PathBuf,
    /// Which row that is.
    pub best: Row,
    /// The documents of the evaluation.
    pub valid: Vec<task::Document>,
    /// Seconds in all.
    pub seconds: f64,
}

/// The students, in the order of the table.
pub const GUIDES: [Guide; 5] = [
    Guide::Unguided,
    Guide::Target,
    Guide::Trajectory,
    Guide::Waypoint,
    Guide::Hybrid,
];

/// Documents that only choose which student is exported; where this file is, a demo was.
const CHOICE: &str = "choice.jsonl";

/// Checkpoints of the teacher's training that guide the waypoint student.
const WAYPOINTS: u64 = 5;

/// Runs the whole walk in `work`; None when `stop` was set before the end.
///
/// # Errors
/// When a folder cannot be written or a run fails.
pub fn run(plan: &Plan, work: &Path, stop: &AtomicBool) -> Result<Option<Outcome>> {
    let start = Instant::now();
    let device_line = crate::select_device(plan.device)?.1;
    eprintln!("device: {device_line}");
    let demo = Demo { plan, work, stop };
    may_take(work)?;
    let valid = task::documents(
        plan.valid_documents,
        task::MIN_LENGTH..=task::MAX_LENGTH,
        plan.seed + 1,
    );
    demo.write_documents("valid.jsonl", &valid)?;
    // The exported student is chosen on others than its figures are taken from.
    let choosing = task::documents(
        plan.valid_documents / 2,
        task::MIN_LENGTH..=task::MAX_LENGTH,
        plan.seed.wrapping_add(4),
    );
    demo.write_documents(CHOICE, &choosing)?;
    demo.training_documents("short.jsonl", plan.pretraining_steps, task::SHORT, 2)?;
    demo.training_documents(
        "train.jsonl",
        plan.teacher_steps.max(plan.student_steps),
        task::MIN_LENGTH..=task::MAX_LENGTH,
        3,
    )?;
    demo.random_model("start")?;

    let Some(_) = demo.finetune(
        "pretrain",
        "start",
        "short.jsonl",
        plan.pretraining_steps,
        0,
    )?
    else {
        return Ok(None);
    };
    let Some(teacher) = demo.finetune(
        "teacher",
        "pretrain/last",
        "train.jsonl",
        plan.teacher_steps,
        WAYPOINTS,
    )?
    else {
        return Ok(None);
    };
    let folder = work.join("teacher/last");
    let mut rows = vec![demo.row("teacher", &folder, &folder, &teacher)?];
    for guide in GUIDES {
        let name = spelled(guide);
        let Some(summary) = demo.convert(guide, &name)? else {
            return Ok(None);
        };
        rows.push(demo.row(&name, &work.join(&name).join("last"), &folder, &summary)?);
        if stop.load(Ordering::SeqCst) {
            return Ok(None);
        }
    }
    // The first two rows are the teacher and the unguided student.
    let best = rows[2..]
        .iter()
        .max_by(|a, b| a.choice.total_cmp(&b.choice))
        .context("no guided student")?
        .clone();
    Ok(Some(Outcome {
        teacher: folder,
        student: best.folder.clone(),
        best,
        rows,
        valid,
        seconds: start.elapsed().as_secs_f64(),
    }))
}

/// Checks that data and runs in `work` are an earlier demo's, where there are any: those are replaced, others are not.
fn may_take(work: &Path) -> Result<()> {
    if work.join(CHOICE).exists() {
        return Ok(());
    }
    let guides = GUIDES.iter().map(|guide| spelled(*guide));
    let names = [
        "valid.jsonl",
        "short.jsonl",
        "train.jsonl",
        "start",
        "pretrain",
        "teacher",
    ];
    for name in names.map(String::from).into_iter().chain(guides) {
        let path = work.join(name);
        if path.exists() {
            bail!(
                "{}: is there and not from a demo, which would write over it. Name another folder with --keep",
                path.display()
            );
        }
    }
    Ok(())
}

struct Demo<'a> {
    plan: &'a Plan,
    work: &'a Path,
    stop: &'a AtomicBool,
}

impl Demo<'_> {
    fn write_documents(&self, name: &str, documents: &[task::Document]) -> Result<()> {
        let lines: String = documents
            .iter()
            .map(|d| format!("{}\n", json!({ "text": d.text, "label": d.label })))
            .collect();
        write_whole(&self.work.join(name), lines.as_bytes())
    }

    /// As many documents as the steps take, so that none is seen twice.
    fn training_documents(
        &self,
        name: &str,
        steps: u64,
        lengths: RangeInclusive<usize>,
        salt: u64,
    ) -> Result<()> {
        let count = steps as usize * self.plan.batch_size;
        self.write_documents(
            name,
            &task::documents(count, lengths, self.plan.seed.wrapping_add(salt)),
        )
    }

    fn random_model(&self, name: &str) -> Result<()> {
        let plan = self.plan;
        let labels: serde_json::Map<_, _> = task::PLACES
            .iter()
            .enumerate()
            .map(|(i, p)| (i.to_string(), json!(p)))
            .collect();
        let numbers: serde_json::Map<_, _> = task::PLACES
            .iter()
            .enumerate()
            .map(|(i, p)| (p.to_string(), json!(i)))
            .collect();
        let config = json!({
            "architectures": ["BertForSequenceClassification"], "model_type": "bert", "vocab_size": task::vocabulary().len(),
            "hidden_size": plan.hidden_size, "num_hidden_layers": plan.layers, "num_attention_heads": plan.heads,
            "intermediate_size": 2 * plan.hidden_size, "hidden_act": "gelu", "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0, "max_position_embeddings": task::MAX_LENGTH, "type_vocab_size": 2,
            // Wider than BERT's 0.02: a narrow model would spend its few steps growing its weights.
            "initializer_range": 0.08, "layer_norm_eps": 1e-12, "pad_token_id": 0, "id2label": labels, "label2id": numbers,
        });
        let config = TextConfig::from_value(config, "the demo's configuration")?;
        let mut model = TextModel::random(config, plan.seed, &Device::flex());
        model.set_tokenizer_json(Some(task::tokenizer()?));
        Ok(model
            .to_checkpoint()?
            .write(&self.work.join(name), WeightDtype::F32)?)
    }

    fn config(&self, name: &str, train: &str, steps: u64, rate: f64) -> RunConfig {
        let mut config = RunConfig {
            output: self.work.join(name),
            device: self.plan.device,
            seed: self.plan.seed,
            overwrite: true,
            ..Default::default()
        };
        config.data.train = vec![self.work.join(train)];
        config.train.max_steps = Some(steps);
        config.train.batch_size = self.plan.batch_size;
        config.train.save_state = false;
        config.train.dropout = false;
        config.optimizer.learning_rate = rate;
        config.optimizer.schedule = ScheduleKind::Linear;
        config.optimizer.warmup_ratio = 0.1;
        config
    }

    fn finetune(
        &self,
        name: &str,
        from: &str,
        train: &str,
        steps: u64,
        checkpoints: u64,
    ) -> Result<Option<RunSummary>> {
        let mut config = self.config(name, train, steps, self.plan.teacher_rate);
        config.model = Some(self.work.join(from));
        config.train.checkpoints = checkpoints;
        self.finished(
            crate::finetune(&config, self.stop, &mut *self.observer(name))
                .with_context(|| format!("training: {name}"))?,
        )
    }

    fn convert(&self, guide: Guide, name: &str) -> Result<Option<RunSummary>> {
        let plan = self.plan;
        let mut config = self.config(name, "train.jsonl", plan.student_steps, plan.student_rate);
        config.model = Some(self.work.join("pretrain/last"));
        let cald = &mut config.cald;
        cald.guide = guide;
        cald.teacher = Some(self.work.join("teacher/last"));
        cald.waypoints = vec![self.work.join("teacher/checkpoints")];
        cald.teacher_learning_rate = Some(plan.teacher_rate);
        cald.hybrid_guide = Guide::Target;
        cald.hybrid_fraction = 0.75;
        // Target and hybrid start as the teacher does their guiding; the others, as in the paper, where the teacher started.
        cald.student_from = Some(if matches!(guide, Guide::Target | Guide::Hybrid) {
            StudentFrom::Teacher
        } else {
            StudentFrom::Initial
        });
        cald.k = plan.k;
        cald.sharing = SharingChoice::Kv;
        cald.init = InitChoice::Segments;
        cald.reference_length = Some(plan.reference_length);
        cald.alpha_layer = plan.alpha_layer;
        cald.alpha_logits = plan.alpha_logits;
        self.finished(
            crate::convert(&config, self.stop, &mut *self.observer(name))
                .with_context(|| format!("conversion: {name}"))?,
        )
    }

    fn observer(&self, name: &str) -> Box<dyn Observer> {
        Box::new(Progress::new(name))
    }

    fn finished(&self, summary: RunSummary) -> Result<Option<RunSummary>> {
        Ok((summary.stopped != StopReason::Interrupted).then_some(summary))
    }

    fn row(&self, name: &str, model: &Path, teacher: &Path, summary: &RunSummary) -> Result<Row> {
        let evaluate = |documents: &str, teacher: Option<PathBuf>| {
            let mut options = EvalOptions {
                model: model.into(),
                teacher,
                device: self.plan.device,
                ..Default::default()
            };
            options.data.valid = vec![self.work.join(documents)];
            crate::evaluate(&options, &mut Silent)
        };
        let Evaluation {
            accuracy,
            agreement,
            ..
        } = evaluate("valid.jsonl", Some(teacher.into()))?;
        Ok(Row {
            name: name.into(),
            accuracy,
            choice: evaluate(CHOICE, None)?.accuracy,
            agreement: agreement.unwrap_or(f64::NAN),
            seconds: summary.seconds,
            steps: summary.steps,
            folder: model.into(),
        })
    }
}

/// The table as text.
pub fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<12} {:>9} {:>11} {:>6} {:>9}\n",
        "model", "accuracy", "agreement", "steps", "seconds"
    );
    for row in rows {
        text += &format!(
            "{:<12} {:>8.1}% {:>10.1}% {:>6} {:>9.1}\n",
            row.name,
            100.0 * row.accuracy,
            100.0 * row.agreement,
            row.steps,
            row.seconds
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_earlier_demo_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        may_take(folder.path()).unwrap();
        std::fs::create_dir(folder.path().join("teacher")).unwrap();
        let said = may_take(folder.path()).unwrap_err().to_string();
        assert!(
            said.contains("teacher") && said.contains("--keep"),
            "{said}"
        );
        std::fs::write(folder.path().join(CHOICE), "").unwrap();
        may_take(folder.path()).unwrap();
    }

    #[test]
    fn the_table_has_a_line_a_model() {
        let row = |name: &str, accuracy| Row {
            name: name.into(),
            accuracy,
            choice: accuracy,
            agreement: 0.5,
            seconds: 1.0,
            steps: 3,
            folder: PathBuf::new(),
        };
        let text = table(&[row("teacher", 1.0), row("unguided", 0.25)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("100.0%") && lines[2].starts_with("unguided"));
    }
}
