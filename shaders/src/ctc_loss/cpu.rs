//! Connectionist temporal classification on the CPU: samples over the cores, the states of a frame side by side.

use burn_flex::FlexTensor;

use super::Problem;
use crate::cpu::{blocks, contiguous, exp_negative, fresh, multiply_add, tensor, wide};

/// Stands for the logarithm of zero: differences and sums of a few stay finite.
const NEVER: f32 = -1e30;
/// Whatever is below was made of [`NEVER`].
const HARDLY: f32 = -1e29;
/// Cells before the first state of a row: what it and the second would come from.
const FRONT: usize = 2;
/// Partial results of a reduction over a row.
const LANES: usize = 16;

/// ln x for x in [1, 3], relative error about 1e-7: 2 artanh((x - 1) / (x + 1)) as a series, x halved where it is large.
#[inline(always)]
fn ln_to_three<const FMA: bool>(x: f32) -> f32 {
    let large = x > 1.5;
    let x = if large { 0.5 * x } else { x };
    let s = (x - 1.0) / (x + 1.0);
    let q = s * s;
    let mut series = multiply_add::<FMA>(q, 1.0 / 11.0, 1.0 / 9.0);
    series = multiply_add::<FMA>(q, series, 1.0 / 7.0);
    series = multiply_add::<FMA>(q, series, 1.0 / 5.0);
    series = multiply_add::<FMA>(q, series, 1.0 / 3.0);
    let added = if large { std::f32::consts::LN_2 } else { 0.0 };
    multiply_add::<FMA>(2.0, multiply_add::<FMA>(s * q, series, s), added)
}

/// The largest value of a row.
#[inline(always)]
fn largest(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max)
}

/// The sum of a row.
#[inline(always)]
fn sum(row: &[f32]) -> f32 {
    let (chunks, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// Log softmax of a row.
#[inline(always)]
fn log_softmax_body<const FMA: bool>(logits: &[f32], row: &mut [f32]) {
    let top = largest(logits);
    for (value, &logit) in row.iter_mut().zip(logits) {
        *value = exp_negative::<FMA>(logit - top);
    }
    let log = sum(row).ln();
    for (value, &logit) in row.iter_mut().zip(logits) {
        let logarithm = logit - top - log;
        *value = if logarithm < NEVER { NEVER } else { logarithm };
    }
}

/// Turns logarithms into probabilities.
#[inline(always)]
fn softmax_body<const FMA: bool>(row: &mut [f32]) {
    for value in row {
        *value = exp_negative::<FMA>(*value);
    }
}

/// The variables of a frame's states from those of the frame before, which have [`FRONT`] cells more, and the largest of them.
/// `skip` is 0 where a path may pass over the blank before a state and [`NEVER`] elsewhere.
#[inline(always)]
fn advance_body<const FMA: bool>(
    before: &[f32],
    skip: &[f32],
    emission: &[f32],
    shift: f32,
    row: &mut [f32],
) -> f32 {
    let states = row.len();
    let (two, one, stay) = (&before[..states], &before[1..=states], &before[FRONT..]);
    for (((((value, &two), &one), &stay), &skip), &emission) in row
        .iter_mut()
        .zip(two)
        .zip(one)
        .zip(stay)
        .zip(skip)
        .zip(emission)
    {
        let two = two + skip;
        let top = if one > stay { one } else { stay };
        let top = if two > top { two } else { top };
        let weights = exp_negative::<FMA>(stay - top)
            + exp_negative::<FMA>(one - top)
            + exp_negative::<FMA>(two - top);
        let next = top - shift + ln_to_three::<FMA>(weights) + emission;
        *value = if next < NEVER { NEVER } else { next };
    }
    largest(row)
}

/// Turns the forward variables of a frame into the weights of all paths through its states, up to a common factor. `backward` and
/// `emission` run from the last state to the first. The sum of the weights; 0 where there is no path.
#[inline(always)]
fn weigh_body<const FMA: bool>(forward: &mut [f32], backward: &[f32], emission: &[f32]) -> f32 {
    for ((value, &backward), &emission) in forward
        .iter_mut()
        .zip(backward.iter().rev())
        .zip(emission.iter().rev())
    {
        *value += backward - emission;
    }
    let top = largest(forward);
    if top < HARDLY {
        return 0.0;
    }
    for value in forward.iter_mut() {
        *value = exp_negative::<FMA>(*value - top);
    }
    sum(forward)
}

wide!(fn log_softmax(logits: &[f32], row: &mut [f32]) => log_softmax_body);
wide!(fn softmax(row: &mut [f32]) => softmax_body);
wide!(fn advance(before: &[f32], skip: &[f32], emission: &[f32], shift: f32, row: &mut [f32]) -> f32 => advance_body);
wide!(fn weigh(forward: &mut [f32], backward: &[f32], emission: &[f32]) -> f32 => weigh_body);

/// The recursion over the frames in one direction: forward with the target, or backward with the reversed target.
struct Recursion {
    labels: Vec<u32>,
    blank: u32,
    /// Of each state, as [`advance`] takes it.
    skip: Vec<f32>,
    /// Of each state in the frame that was done last.
    emission: Vec<f32>,
    /// The largest value of the row that was done last; the next is relative to it.
    shift: f32,
    /// What all rows but the last have been made smaller by.
    total: f64,
}

impl Recursion {
    fn new(labels: Vec<u32>, blank: u32) -> Self {
        let states = 2 * labels.len() + 1;
        let mut skip = vec![NEVER; states];
        for (i, skip) in skip.iter_mut().skip(1).step_by(2).enumerate() {
            // The first label may always be reached from before the first frame, see `start`.
            if i == 0 || labels[i] != labels[i - 1] {
                *skip = 0.0;
            }
        }
        Self {
            emission: vec![NEVER; states],
            labels,
            blank,
            skip,
            shift: 0.0,
            total: 0.0,
        }
    }

    /// Values of a row: its states behind [`FRONT`].
    fn width(&self) -> usize {
        self.skip.len() + FRONT
    }

    /// The row before the first frame: from the cell before the first state one may reach this and, as if over a blank, the second.
    fn start(row: &mut [f32]) {
        row.fill(NEVER);
        row[FRONT - 1] = 0.0;
    }

    /// The row of the next frame.
    fn advance(&mut self, logarithms: &[f32], before: &[f32], row: &mut [f32]) {
        self.emission.fill(logarithms[self.blank as usize]);
        for (emission, &label) in self
            .emission
            .iter_mut()
            .skip(1)
            .step_by(2)
            .zip(&self.labels)
        {
            *emission = logarithms[label as usize];
        }
        let (front, row) = row.split_at_mut(FRONT);
        front.fill(NEVER);
        self.total += f64::from(self.shift);
        let best = advance(before, &self.skip, &self.emission, self.shift, row);
        self.shift = if best < HARDLY { 0.0 } else { best };
    }
}

/// The rows `before` and `after` of a buffer.
fn two_rows(rows: &mut [f32], width: usize, before: usize, after: usize) -> [&mut [f32]; 2] {
    rows.get_disjoint_mut([before, after].map(|row| row * width..(row + 1) * width))
        .expect("two rows of the buffer")
}

/// Rows of log softmax from logits, both `[frames, classes]`.
fn log_softmax_rows(logits: &[f32], classes: usize, rows: &mut [f32]) {
    let rows = rows.chunks_exact_mut(classes);
    for (logits, row) in logits.chunks_exact(classes).zip(rows) {
        log_softmax(logits, row);
    }
}

/// The loss of a sample. `rows` holds the start and a row for each frame after it, or two rows that take turns.
fn forward(mut recursion: Recursion, logarithms: &[f32], classes: usize, rows: &mut [f32]) -> f32 {
    let width = recursion.width();
    let (count, mut last) = (rows.len() / width, 0);
    Recursion::start(&mut rows[..width]);
    for (t, logarithms) in logarithms.chunks_exact(classes).enumerate() {
        let before = last;
        last = (t + 1) % count;
        let [before, row] = two_rows(rows, width, before, last);
        recursion.advance(logarithms, before, row);
    }
    // Behind the last frame a path ends in the last label or in the blank after it.
    let end = (last + 1) * width;
    let ends = [rows[end - 1], rows[end - 2]].map(f64::from);
    let top = ends[0].max(ends[1]);
    if top < f64::from(HARDLY) {
        return f32::INFINITY;
    }
    let sum: f64 = ends.iter().map(|end| (end - top).exp()).sum();
    (0.0 - (top + sum.ln() + recursion.total)) as f32
}

/// Loss and gradient of a sample from its logits `[T, V]`.
fn sample_gradient(
    logits: &[f32],
    classes: usize,
    frames: usize,
    target: &[u32],
    blank: u32,
    gradient: &mut [f32],
) -> f32 {
    let (real, padding) = gradient.split_at_mut(frames * classes);
    padding.fill(0.0);
    log_softmax_rows(&logits[..frames * classes], classes, real);
    let recursion = Recursion::new(target.to_vec(), blank);
    let width = recursion.width();
    let mut lattice = fresh((frames + 1) * width);
    let loss = forward(recursion, real, classes, &mut lattice);
    if loss == f32::INFINITY {
        real.fill(0.0);
        return loss;
    }
    let reversed = target.iter().rev().copied().collect();
    let mut recursion = Recursion::new(reversed, blank);
    let mut rows = fresh(2 * width);
    Recursion::start(&mut rows[..width]);
    for (done, t) in (0..frames).rev().enumerate() {
        let row = &mut real[t * classes..(t + 1) * classes];
        let [before, backward] = two_rows(&mut rows, width, done % 2, (done + 1) % 2);
        recursion.advance(row, before, backward);
        let weights = &mut lattice[(t + 1) * width + FRONT..(t + 2) * width];
        let total = weigh(weights, &backward[FRONT..], &recursion.emission);
        if total == 0.0 {
            row.fill(0.0);
            continue;
        }
        softmax(row);
        let blanks: f32 = weights.iter().step_by(2).sum();
        row[blank as usize] -= blanks / total;
        for (&label, weight) in target.iter().zip(weights.iter().skip(1).step_by(2)) {
            row[label as usize] -= weight / total;
        }
    }
    loss
}

/// Batch, frames and classes.
fn dims(logits: &FlexTensor) -> [usize; 3] {
    let shape = logits.layout().shape();
    [shape[0], shape[1], shape[2]]
}

/// The loss `[B]`.
pub(super) fn loss(logits: FlexTensor, problem: &Problem) -> FlexTensor {
    let logits = contiguous(logits);
    let [batch, len, classes] = dims(&logits);
    let logits = logits.storage::<f32>();
    let mut losses = fresh(batch);
    let cells = batch * len * (problem.states() + classes);
    blocks(cells, [&mut losses], [1], |sample, [loss]| {
        let frames = problem.frames.as_slice()[sample] as usize;
        let mut logarithms = fresh(frames * classes);
        let logits = &logits[sample * len * classes..][..frames * classes];
        log_softmax_rows(logits, classes, &mut logarithms);
        let recursion = Recursion::new(problem.targets[sample].clone(), problem.blank);
        let mut rows = fresh(2 * recursion.width());
        loss[0] = forward(recursion, &logarithms, classes, &mut rows);
    });
    tensor(losses, [batch])
}

/// `(loss, gradient)`, the gradient `[B, T, V]`.
pub(super) fn loss_with_gradient(
    logits: FlexTensor,
    problem: &Problem,
) -> (FlexTensor, FlexTensor) {
    let logits = contiguous(logits);
    let [batch, len, classes] = dims(&logits);
    let logits = logits.storage::<f32>();
    let (mut losses, mut gradient) = (fresh(batch), fresh(logits.len()));
    let cells = batch * len * (problem.states() + classes);
    blocks(
        cells,
        [&mut losses, &mut gradient],
        [1, len * classes],
        |sample, [loss, gradient]| {
            loss[0] = sample_gradient(
                &logits[sample * len * classes..][..len * classes],
                classes,
                problem.frames.as_slice()[sample] as usize,
                &problem.targets[sample],
                problem.blank,
                gradient,
            );
        },
    );
    (
        tensor(losses, [batch]),
        tensor(gradient, [batch, len, classes]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_precise_over_its_range() {
        for i in 0..=2000 {
            let x = 1.0 + i as f32 * 1e-3;
            let (got, want) = (f64::from(ln_to_three::<false>(x)), f64::from(x).ln());
            assert!(
                (got - want).abs() <= 3e-7 * want,
                "ln {x}: {got}, not {want}"
            );
        }
    }
}
