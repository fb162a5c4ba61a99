//! Which batches a step has: a pure function of lengths, limits, seed and step.

use super::{BatchLimits, epoch_batches};

/// The batches of a run, step by step, epoch by epoch. Where batches are cut by positions, epochs differ in how many they
/// have; each epoch begins with a step of its own.
pub struct BatchSchedule {
    lengths: Vec<usize>,
    limits: BatchLimits,
    /// Batches in a step.
    accumulation: usize,
    seed: u64,
    /// First step of every epoch that was looked at, and of the one after them.
    starts: Vec<u64>,
    current: Option<(usize, Vec<Vec<usize>>)>,
}

impl BatchSchedule {
    /// `lengths` of all examples.
    pub fn new(lengths: Vec<usize>, limits: BatchLimits, accumulation: usize, seed: u64) -> Self {
        Self {
            lengths,
            limits,
            accumulation: accumulation.max(1),
            seed,
            starts: vec![0],
            current: None,
        }
    }

    fn epoch_steps(&self, epoch: usize) -> u64 {
        let batches = match self.limits.positions {
            None => self.lengths.len().div_ceil(self.limits.examples.max(1)),
            Some(_) => epoch_batches(&self.lengths, self.limits, self.seed, epoch as u64).len(),
        };
        batches.div_ceil(self.accumulation).max(1) as u64
    }

    /// The first step of an epoch.
    fn start(&mut self, epoch: usize) -> u64 {
        while self.starts.len() <= epoch {
            let last = self.starts.len() - 1;
            self.starts.push(self.starts[last] + self.epoch_steps(last));
        }
        self.starts[epoch]
    }

    /// Steps of so many passes over the examples, at least one.
    pub fn steps(&mut self, epochs: f64) -> u64 {
        let whole = epochs.floor() as usize;
        let (start, end) = (self.start(whole), self.start(whole + 1));
        let part = epochs.fract() * (end - start) as f64;
        (start + part.ceil() as u64).max(1)
    }

    /// The epoch that a step belongs to, and its place there.
    fn locate(&mut self, step: u64) -> (usize, u64) {
        let mut epoch = self.starts.len().saturating_sub(1);
        while self.start(epoch + 1) <= step {
            epoch += 1;
        }
        while self.starts[epoch] > step {
            epoch -= 1;
        }
        (epoch, step - self.starts[epoch])
    }

    /// Passes over the examples after `steps` steps.
    pub fn passes(&mut self, steps: u64) -> f64 {
        let (epoch, index) = self.locate(steps);
        let length = self.start(epoch + 1) - self.start(epoch);
        epoch as f64 + index as f64 / length as f64
    }

    /// Whether an epoch ends with the last of `steps` steps.
    pub fn ends_epoch(&mut self, steps: u64) -> bool {
        steps > 0 && self.locate(steps).1 == 0
    }

    /// The batches of a step, as indices.
    pub fn batches(&mut self, step: u64) -> Vec<Vec<usize>> {
        let (epoch, index) = self.locate(step);
        if self
            .current
            .as_ref()
            .is_none_or(|(known, _)| *known != epoch)
        {
            let order = epoch_batches(&self.lengths, self.limits, self.seed, epoch as u64);
            self.current = Some((epoch, order));
        }
        let order = self.current.as_ref().map(|(_, order)| order.as_slice());
        let first = index as usize * self.accumulation;
        let order = order.unwrap_or_default().iter();
        order.skip(first).take(self.accumulation).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(positions: Option<usize>) -> BatchSchedule {
        let lengths = (0..101).map(|i| 1 + (i * 37) % 64).collect();
        let limits = BatchLimits {
            examples: 8,
            positions,
            chunk: 3,
        };
        BatchSchedule::new(lengths, limits, 2, 5)
    }

    #[test]
    fn every_epoch_has_every_example_once() {
        for positions in [None, Some(150)] {
            let mut schedule = schedule(positions);
            let mut step = 0;
            for epoch in 0..4 {
                let mut seen = Vec::new();
                loop {
                    let batches = schedule.batches(step);
                    assert!(!batches.is_empty() && batches.len() <= 2);
                    seen.extend(batches.into_iter().flatten());
                    step += 1;
                    if schedule.ends_epoch(step) {
                        break;
                    }
                }
                seen.sort_unstable();
                assert_eq!(seen, (0..101).collect::<Vec<_>>(), "epoch {epoch}");
                assert_eq!(schedule.passes(step), (epoch + 1) as f64);
                assert_eq!(schedule.steps((epoch + 1) as f64), step);
            }
        }
    }

    #[test]
    fn a_step_is_the_same_whichever_came_before() {
        let (mut forwards, mut backwards) = (schedule(Some(150)), schedule(Some(150)));
        let last = forwards.steps(3.0);
        let one: Vec<_> = (0..last).map(|step| forwards.batches(step)).collect();
        let mut other: Vec<_> = (0..last)
            .rev()
            .map(|step| backwards.batches(step))
            .collect();
        other.reverse();
        assert_eq!(one, other);
        assert_eq!(schedule(None).steps(0.5), 4);
    }
}
