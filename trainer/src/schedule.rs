//! The learning rate of every step, in f64.

use std::f64::consts::PI;

use crate::config::{OptimizerConfig, ScheduleKind};

/// Learning rate as a function of the step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Shape.
    pub kind: ScheduleKind,
    /// Highest rate.
    pub base: f64,
    /// Rate at the end, for the shapes that have one.
    pub minimum: f64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// Steps of the run.
    pub total: u64,
}

impl Schedule {
    /// For a run of `total` steps.
    pub fn new(config: &OptimizerConfig, total: u64) -> Self {
        let warmup = config
            .warmup_steps
            .unwrap_or((config.warmup_ratio * total as f64).ceil() as u64);
        Self {
            kind: config.schedule,
            base: config.learning_rate,
            minimum: config.minimum_learning_rate,
            warmup,
            total,
        }
    }

    /// The rate that step `step` (counted from 0) uses.
    pub fn rate(&self, step: u64) -> f64 {
        let ratio = if self.base > 0.0 {
            self.minimum / self.base
        } else {
            0.0
        };
        self.base * self.factor(step as f64, ratio)
    }

    fn factor(&self, step: f64, ratio: f64) -> f64 {
        let (warmup, total) = (self.warmup as f64, self.total as f64);
        let decay_steps = (total - warmup).max(1.0);
        let done = (step - warmup) / decay_steps;
        let half_cosine = |done: f64| 0.5 * (1.0 + (PI * done).cos());
        let rise = step / warmup.max(1.0);
        let warming = step < warmup;
        match self.kind {
            ScheduleKind::CosineEarly => {
                // transformers' own counts the coming step as done.
                if warming {
                    return (step + 1.0) / warmup.max(1.0);
                }
                let done = (step - warmup + 1.0) / decay_steps;
                (ratio + (1.0 - ratio) * half_cosine(done)).max(0.0)
            }
            ScheduleKind::CosineClipped if step >= total => ratio,
            ScheduleKind::CosineClipped => {
                let plain = if warming {
                    rise
                } else {
                    half_cosine(done).max(0.0)
                };
                plain.max(ratio)
            }
            _ if warming => rise,
            ScheduleKind::Constant => 1.0,
            ScheduleKind::Linear => ((total - step) / decay_steps).max(0.0),
            ScheduleKind::Cosine => half_cosine(done).max(0.0),
            ScheduleKind::CosineToMinimum => ratio + (1.0 - ratio) * half_cosine(done.min(1.0)),
            // With no minimum given the end is a hundredth of the base.
            ScheduleKind::Exponential => {
                let end = if ratio > 0.0 { ratio } else { 0.01 };
                end.powf(done.min(1.0))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_without_a_reference_case() {
        let mut schedule = Schedule {
            kind: ScheduleKind::Exponential,
            base: 1e-3,
            minimum: 1e-5,
            warmup: 10,
            total: 110,
        };
        assert_eq!(schedule.rate(0), 0.0);
        assert!((schedule.rate(10) - 1e-3).abs() < 1e-12);
        assert!((schedule.rate(60) - 1e-4).abs() < 1e-12);
        assert!(
            (schedule.rate(110) - 1e-5).abs() < 1e-12 && schedule.rate(999) == schedule.rate(110)
        );
        schedule.kind = ScheduleKind::Constant;
        assert_eq!(
            (schedule.rate(5), schedule.rate(50), schedule.rate(999)),
            (5e-4, 1e-3, 1e-3)
        );
    }

    #[test]
    fn every_shape_is_finite_and_within_its_bounds() {
        use ScheduleKind::*;
        for kind in [
            Constant,
            Linear,
            Cosine,
            CosineToMinimum,
            CosineClipped,
            CosineEarly,
            Exponential,
        ] {
            for (warmup, total, minimum) in [
                (0, 1, 0.0),
                (5, 5, 1e-4),
                (9, 3, 0.0),
                (0, 0, 1e-3),
                (3, 50, 1e-4),
            ] {
                let schedule = Schedule {
                    kind,
                    base: 1e-3,
                    minimum,
                    warmup,
                    total,
                };
                for step in 0..total.max(1) {
                    let rate = schedule.rate(step);
                    assert!(
                        (0.0..=1e-3 * 1.0000001).contains(&rate),
                        "{schedule:?} {step}: {rate}"
                    );
                }
            }
        }
    }
}
