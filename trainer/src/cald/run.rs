//! A run: models, data and plan; one step, one evaluation.

use std::time::Instant;

use anyhow::{Result, bail};
use burn::tensor::{Device, Tensor};

use super::family::{Asked, Family};
use super::guide::Teacher;
use super::step::{Objective, Parts, student_step};
use crate::batches::{BatchLimits, RunBatches, mix};
use crate::config::{BestMetric, Guide, RunConfig};
use crate::metrics::{EvalRecord, Observer, Score, StepRecord};
use crate::optimizer::{AdamW, GradientSum};
use crate::schedule::Schedule;
use caldera_models::Parameters;

/// A run with everything it needs.
pub(super) struct Run<F: Family> {
    pub task: String,
    pub config: RunConfig,
    /// Without autodiff.
    pub device: Device,
    pub device_line: String,
    /// In training.
    pub student: F::Model,
    pub optimizer: AdamW,
    pub schedule: Schedule,
    pub teacher: Teacher<F::Model>,
    pub family: F,
    pub total_steps: u64,
    pub steps_per_epoch: u64,
    /// Steps with a teacher.
    pub guided_steps: u64,
    /// A fine-tuning run: the task's weight is 1 whatever `[cald]` says.
    finetuning: bool,
    batches: RunBatches,
}

impl<F: Family> Run<F> {
    pub fn new(
        task: String,
        config: RunConfig,
        device: Device,
        device_line: String,
        student: F::Model,
        mut teacher: Teacher<F::Model>,
        family: F,
    ) -> Result<Self> {
        let train = &config.train;
        let limits = BatchLimits {
            examples: train.batch_size,
            positions: family.batch_positions(train),
            chunk: train.bucket_batches,
        };
        let mut batches =
            RunBatches::new(family.lengths(), limits, train.accumulation, config.seed);
        let steps_per_epoch = batches.steps(1.0);
        let total_steps = train
            .max_steps
            .unwrap_or_else(|| batches.steps(train.epochs));
        let guided_steps = match config.cald.guide {
            Guide::Hybrid => config
                .cald
                .hybrid_steps
                .unwrap_or_else(|| {
                    (config.cald.hybrid_fraction * total_steps as f64).round() as u64
                })
                .min(total_steps),
            _ => total_steps,
        };
        let counts = family.counts();
        if guided_steps < total_steps && counts.unlabelled > 0 {
            // Without a guide nothing is learnt from them.
            batches.only_first_from(guided_steps, counts.labelled);
        }
        teacher.plan(guided_steps, &config);
        let finetuning = task == "finetune";
        Ok(Self {
            optimizer: AdamW::new(&config.optimizer),
            schedule: Schedule::new(&config.optimizer, total_steps),
            student: family.trainable(student, &config),
            batches,
            task,
            config,
            device,
            device_line,
            teacher,
            family,
            total_steps,
            steps_per_epoch,
            guided_steps,
            finetuning,
        })
    }

    /// One optimizer step of student and, where it learns, teacher. `log`: read the losses back.
    pub fn step(&mut self, step: u64, log: bool) -> Result<StepRecord> {
        let started = Instant::now();
        let guided = step < self.guided_steps;
        if !guided {
            self.teacher = Teacher::None;
        }
        self.teacher
            .prepare(&self.family, step, self.guided_steps, &self.student)?;
        // Dropout becomes a function of the step, so that a resumed run draws the same masks.
        self.device.seed(mix(self.config.seed ^ 0x5eed, step));
        let batches = self.batches.batches(step);
        let share = 1.0 / batches.len().max(1) as f64;
        let objective = Objective {
            cald: &self.config.cald,
            task_weight: if self.finetuning {
                1.0
            } else {
                self.config.cald.task_weight
            },
            dropout: self.config.train.dropout,
        };
        let (mut parts, mut student_sum, mut teacher_sum) = (
            Parts::default(),
            GradientSum::default(),
            GradientSum::default(),
        );
        let mut record = StepRecord {
            step: step + 1,
            total_steps: self.total_steps,
            epoch: self.batches.passes(step + 1),
            learning_rate: self.schedule.rate(step),
            teacher_learning_rate: self.teacher.learning_rate(step),
            ..StepRecord::default()
        };
        let of_the_teacher = Asked {
            hidden_states: self.config.cald.alpha_layer > 0.0,
            logits: self.config.cald.alpha_logits > 0.0,
            dropout: objective.dropout,
        };
        for (number, indices) in batches.iter().enumerate() {
            let family = &self.family;
            let draw = mix(mix(self.config.seed ^ 0xd4a3, step), number as u64);
            let batch = family.batch(indices, draw, &self.device);
            let (rows, positions) = family.size(&batch);
            record.examples += rows;
            record.positions += positions;
            let mut guidance = self.teacher.guide(family, &batch, &of_the_teacher, step);
            if let Some(gradients) = guidance
                .as_mut()
                .and_then(|guidance| guidance.gradients.as_mut())
            {
                self.teacher.collect(gradients, share, &mut teacher_sum);
            }
            let (mut found, gradients) =
                student_step(family, &self.student, &batch, guidance.as_ref(), &objective);
            found.teacher = guidance.and_then(|guidance| guidance.loss);
            parts.add(found, share);
            if let Some(mut gradients) = gradients {
                student_sum.add_share(&self.student, &mut gradients, share);
            }
        }
        let norm = student_sum.clip(self.config.optimizer.clip);
        self.optimizer
            .step(&mut self.student, student_sum, record.learning_rate);
        self.teacher
            .step(teacher_sum, step, self.config.optimizer.clip);
        if log {
            read_losses(
                &mut record,
                parts,
                norm,
                &objective_weights(&self.config, self.finetuning),
            )?;
        }
        record.seconds = started.elapsed().as_secs_f64();
        Ok(record)
    }

    pub fn evaluate(
        &mut self,
        step: u64,
        best: Option<&EvalRecord>,
        observer: &mut dyn Observer,
    ) -> Result<EvalRecord> {
        let started = Instant::now();
        let size = self.config.train.eval_batch_size;
        let size = size.unwrap_or_else(|| self.family.eval_batch_size(&self.student));
        let mut scored = |model: F::Model| self.family.evaluate(&model.frozen(), size, observer);
        let score = scored(self.student.clone())?;
        let teacher = match &self.teacher {
            Teacher::Training(trainee) => Some(scored(trainee.model.clone())?),
            _ => None,
        };
        let better = best.is_none_or(|best| match self.config.train.best_metric {
            BestMetric::Accuracy => {
                (score.accuracy, -score.loss) > (best.score.accuracy, -best.score.loss)
            }
            BestMetric::Loss => score.loss < best.score.loss,
            BestMetric::Wer => {
                let rank = |score: &Score| (score.wer.unwrap_or(f64::INFINITY), score.loss);
                rank(&score) < rank(&best.score)
            }
        });
        Ok(EvalRecord {
            step,
            epoch: self.batches.passes(step),
            examples: self.family.counts().valid,
            score,
            teacher_accuracy: teacher.map(|score| score.accuracy),
            teacher_wer: teacher.and_then(|score| score.wer),
            best: better,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// Whether an evaluation is due after `step` steps.
    pub fn evaluation_due(&mut self, step: u64) -> bool {
        let due = match self.config.train.eval_every {
            Some(every) => step.is_multiple_of(every),
            None => self.batches.ends_epoch(step),
        };
        self.family.counts().valid > 0 && (due || step == self.total_steps)
    }

    /// Whether an epoch ends with the last of `steps` steps.
    pub fn ends_epoch(&mut self, steps: u64) -> bool {
        self.batches.ends_epoch(steps)
    }

    /// Whether one of the evenly spread checkpoints is due after `step` steps.
    pub fn checkpoint_due(&self, step: u64) -> bool {
        let count = self.config.train.checkpoints;
        let passed =
            |step: u64| u128::from(step) * u128::from(count) / u128::from(self.total_steps.max(1));
        count > 0 && passed(step) > passed(step - 1)
    }
}

/// Weights of task, layer and logits losses.
fn objective_weights(config: &RunConfig, finetuning: bool) -> [f64; 3] {
    match finetuning {
        true => [1.0, 0.0, 0.0],
        false => [
            config.cald.task_weight,
            config.cald.alpha_layer,
            config.cald.alpha_logits,
        ],
    }
}

/// Reads everything at once into the record.
fn read_losses(
    record: &mut StepRecord,
    parts: Parts,
    norm: Option<Tensor<1>>,
    weights: &[f64; 3],
) -> Result<()> {
    let slots = [parts.task, parts.layer, parts.logits, parts.teacher, norm];
    let present: Vec<Tensor<1>> = slots.iter().flatten().cloned().collect();
    if present.is_empty() {
        return Ok(());
    }
    let data = Tensor::cat(present, 0)
        .try_into_data()
        .map_err(|error| anyhow::anyhow!("step {}: the device failed: {error:?}", record.step))?;
    let mut values = data.iter::<f64>();
    let [task, layer, logits, teacher, norm] = slots.map(|slot| slot.and_then(|_| values.next()));
    let weighted = [task, layer, logits].into_iter().zip(weights);
    let loss: f64 = weighted
        .map(|(part, weight)| part.unwrap_or(0.0) * weight)
        .sum();
    if !loss.is_finite() || norm.is_some_and(|norm| !norm.is_finite()) {
        bail!(
            "step {}: the loss is {loss} and the gradients' norm {norm:?}: training has diverged. Lower \
             optimizer.learning_rate, or set optimizer.clip and warm-up",
            record.step
        );
    }
    record.loss = Some(loss);
    (record.task_loss, record.layer_loss, record.logits_loss) = (task, layer, logits);
    (record.teacher_loss, record.gradient_norm) = (teacher, norm);
    Ok(())
}
