//! The batches of a whole run, whose second part may leave examples out.

use super::{BatchLimits, BatchSchedule};

/// The batches of a run: those of all its examples, and from some step on, where that is asked for, of the first of them
/// alone. A pure function of the step, as [`BatchSchedule`] is.
pub struct RunBatches {
    all: BatchSchedule,
    limits: BatchLimits,
    accumulation: usize,
    seed: u64,
    lengths: Vec<usize>,
    /// The first step of the second part, and its batches.
    rest: Option<(u64, BatchSchedule)>,
}

impl RunBatches {
    /// `lengths` of all examples, `accumulation` batches in a step.
    pub fn new(lengths: Vec<usize>, limits: BatchLimits, accumulation: usize, seed: u64) -> Self {
        Self {
            all: BatchSchedule::new(lengths.clone(), limits, accumulation, seed),
            limits,
            accumulation,
            seed,
            lengths,
            rest: None,
        }
    }

    /// From step `step` on only the first `count` examples; epochs begin anew there.
    pub fn only_first_from(&mut self, step: u64, count: usize) {
        let lengths = self.lengths.iter().take(count).copied().collect();
        let rest = BatchSchedule::new(lengths, self.limits, self.accumulation, self.seed);
        self.rest = Some((step, rest));
    }

    /// Steps of so many passes over all examples, at least one.
    pub fn steps(&mut self, epochs: f64) -> u64 {
        self.all.steps(epochs)
    }

    /// Passes over the examples of each part after `steps` steps.
    pub fn passes(&mut self, steps: u64) -> f64 {
        match &mut self.rest {
            Some((first, rest)) if steps > *first => {
                self.all.passes(*first) + rest.passes(steps - *first)
            }
            _ => self.all.passes(steps),
        }
    }

    /// Whether an epoch ends with the last of `steps` steps.
    pub fn ends_epoch(&mut self, steps: u64) -> bool {
        match &mut self.rest {
            Some((first, rest)) if steps > *first => rest.ends_epoch(steps - *first),
            _ => self.all.ends_epoch(steps),
        }
    }

    /// The batches of a step, as indices.
    pub fn batches(&mut self, step: u64) -> Vec<Vec<usize>> {
        match &mut self.rest {
            Some((first, rest)) if step >= *first => rest.batches(step - *first),
            _ => self.all.batches(step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches() -> RunBatches {
        let lengths = (0..30).map(|i| 1 + (i * 37) % 64).collect();
        let limits = BatchLimits {
            examples: 4,
            positions: None,
            chunk: 3,
        };
        RunBatches::new(lengths, limits, 1, 5)
    }

    #[test]
    fn the_second_part_has_each_of_its_examples_once_an_epoch_and_no_other() {
        let (mut whole, mut parted) = (batches(), batches());
        // Eight steps are an epoch: the first part ends within its second.
        parted.only_first_from(10, 9);
        for step in 0..10 {
            assert_eq!(whole.batches(step), parted.batches(step), "step {step}");
        }
        assert_eq!((parted.passes(10), parted.passes(13)), (1.25, 2.25));
        let ends: Vec<u64> = (1..=16).filter(|step| parted.ends_epoch(*step)).collect();
        assert_eq!(ends, [8, 13, 16]);
        for epoch in [10..13, 13..16] {
            let mut seen: Vec<usize> = epoch
                .flat_map(|step| parted.batches(step))
                .flatten()
                .collect();
            seen.sort_unstable();
            assert_eq!(seen, (0..9).collect::<Vec<_>>());
        }
        // Whichever step was asked for before.
        let mut resumed = batches();
        resumed.only_first_from(10, 9);
        assert_eq!(resumed.batches(14), parted.batches(14));
    }
}
