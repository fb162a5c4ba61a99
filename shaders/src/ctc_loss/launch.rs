//! Connectionist temporal classification on the GPU.

use std::ops::RangeInclusive;

use burn_cubecl::tensor::CubeTensor;

use super::Problem;
use crate::launch::{Kernel, SLICE_BYTES, contiguous, empty, words};
use crate::tuning::Tuning;

const LATTICE: &str = concat!(include_str!("lattice.wgsl"), include_str!("emission.wgsl"));
const GRADIENT: &str = concat!(include_str!("gradient.wgsl"), include_str!("emission.wgsl"));

/// Invocations of a row of logits, and of a sample's lattice at least and at most, by its states: a software adapter runs them one
/// after the other, and spends more on their barriers than on the states.
fn threads(tuning: Tuning) -> (usize, RangeInclusive<usize>) {
    match tuning {
        Tuning::Software => (16, 16..=16),
        Tuning::Hardware => (64, 64..=256),
    }
}

/// Turns of the loops of an invocation in one launch: systems stop what runs too long, and lavapipe leaves a shader's loops,
/// without a word, after 65,535 turns of all of them together.
const TURNS: usize = 16 * 1024;

/// The loss `[B]`.
pub(super) fn loss(logits: CubeTensor, problem: &Problem) -> CubeTensor {
    Run::new(logits, problem).loss()
}

/// `(loss, gradient)`, the gradient `[B, T, V]`.
pub(super) fn loss_with_gradient(
    logits: CubeTensor,
    problem: &Problem,
) -> (CubeTensor, CubeTensor) {
    Run::new(logits, problem).loss_with_gradient()
}

/// What the kernels read.
struct Run {
    logits: CubeTensor,
    /// `[B, T, 2]`: the largest logit of a frame, and the logarithm of Σ e^(logit − largest)
    stats: CubeTensor,
    /// `[B, 2 + 2S]`: frames, labels, the target, the positions of its labels in the order of the labels
    targets: CubeTensor,
    batch: usize,
    len: usize,
    classes: usize,
    longest: usize,
    blank: u32,
    row_threads: usize,
    lattice_threads: RangeInclusive<usize>,
}

impl Run {
    fn new(logits: CubeTensor, problem: &Problem) -> Self {
        let logits = contiguous(logits);
        let shape = logits.meta.shape();
        let [batch, len, classes] = [shape[0], shape[1], shape[2]];
        let longest = problem.longest();
        let mut rows = Vec::with_capacity(batch * (2 + 2 * longest));
        for (target, &frames) in problem.targets.iter().zip(problem.frames.as_slice()) {
            let mut order: Vec<u32> = (0..target.len() as u32).collect();
            order.sort_by_key(|&position| target[position as usize]);
            let end = rows.len() + 2 + longest;
            rows.extend([frames, target.len() as u32]);
            rows.extend_from_slice(target);
            rows.resize(end, problem.blank);
            rows.extend(order);
            rows.resize(end + longest, 0);
        }
        let stats = empty(&logits, [batch, len, 2]);
        let (row_threads, lattice_threads) = threads(Tuning::of(&logits));
        Kernel::new(
            "ctc loss normaliser",
            include_str!("normaliser.wgsl"),
            row_threads as u32,
        )
        .workgroup_memory(row_threads * 4)
        .launch(
            &[&logits, &stats],
            &[(batch * len) as u32, classes as u32],
            batch * len,
        );
        Self {
            targets: words(&logits, &rows),
            logits,
            stats,
            batch,
            len,
            classes,
            longest,
            blank: problem.blank,
            row_threads,
            lattice_threads,
        }
    }

    fn states(&self) -> usize {
        2 * self.longest + 1
    }

    /// Sizes for `samples` samples from `first` on, `rows` rows of a lattice kept for each.
    fn info(&self, first: usize, samples: usize, rows: usize, directions: usize) -> Vec<u32> {
        vec![
            samples as u32,
            self.len as u32,
            self.classes as u32,
            self.longest as u32,
            first as u32,
            rows as u32,
            directions as u32,
            self.blank,
            f32::INFINITY.to_bits(),
            (samples * self.len) as u32,
        ]
    }

    /// Fills `lattices`, forward and, where there is a second, backward, and the losses of the samples.
    fn fill(
        &self,
        lattices: &[CubeTensor],
        loss: &CubeTensor,
        first: usize,
        samples: usize,
        rows: usize,
    ) {
        let threads = self
            .states()
            .next_power_of_two()
            .clamp(*self.lattice_threads.start(), *self.lattice_threads.end());
        let carried = empty(&self.logits, [samples, lattices.len(), 3]);
        let mut buffers = vec![
            &self.logits,
            &self.stats,
            &self.targets,
            &lattices[0],
            &carried,
            loss,
        ];
        buffers.extend(lattices.get(1));
        let steps = (TURNS / (1 + self.states().div_ceil(threads))).max(1);
        for step in (0..self.len).step_by(steps) {
            let mut info = self.info(first, samples, rows, lattices.len());
            info.extend([step, steps].map(|size| size as u32));
            Kernel::new("ctc loss lattice", LATTICE, threads as u32)
                .set("halvings", threads.ilog2())
                .set("seconds", lattices.len() - 1)
                .set("info_binding", 5 + lattices.len())
                .workgroup_memory(2 * threads * 4 + 8)
                .launch(&buffers, &info, samples * lattices.len());
        }
    }

    fn loss(&self) -> CubeTensor {
        let loss = empty(&self.logits, [self.batch]);
        // Two rows by turns: a state needs those of the frame before.
        let lattice = empty(&self.logits, [self.batch, 2, self.states()]);
        self.fill(&[lattice], &loss, 0, self.batch, 2);
        loss
    }

    fn loss_with_gradient(&self) -> (CubeTensor, CubeTensor) {
        let loss = empty(&self.logits, [self.batch]);
        let gradient = empty(&self.logits, [self.batch, self.len, self.classes]);
        let of_sample = self.len * self.states() * size_of::<f32>();
        let step = (SLICE_BYTES / of_sample).clamp(1, self.batch);
        let lattices = [(); 2].map(|()| empty(&self.logits, [step, self.len, self.states()]));
        for first in (0..self.batch).step_by(step) {
            let samples = step.min(self.batch - first);
            self.fill(&lattices, &loss, first, samples, self.len);
            Kernel::new("ctc loss gradient", GRADIENT, self.row_threads as u32)
                .workgroup_memory(2 * self.row_threads * 4)
                .launch(
                    &[
                        &self.logits,
                        &self.stats,
                        &self.targets,
                        &lattices[0],
                        &lattices[1],
                        &gradient,
                    ],
                    &self.info(first, samples, self.len, 2),
                    samples * self.len,
                );
        }
        (loss, gradient)
    }
}
