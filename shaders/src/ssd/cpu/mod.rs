//! The scan of Mamba-2 on the CPU: a head of a sample a task, its chunks one after the other, each as matrix products. Here what both
//! passes share.

mod backward;
mod forward;

pub(super) use backward::backward;
pub(super) use forward::forward;

use burn_flex::FlexTensor;

use super::{CHUNK, EXPONENT_STEPS, LEAST_EXPONENT, Parts, Sizes};
use crate::product::{Matrix, MatrixMut};

/// Below this many products of two numbers one core is faster than waking the others.
const PARALLEL_PRODUCTS: usize = 256 * 1024;

/// ln(1 + e^v) without overflow.
pub(in crate::ssd) fn softplus(v: f32) -> f32 {
    v.max(0.0) + (-v.abs()).exp().ln_1p()
}

/// Steps and summed exponents of the positions of one chunk and head.
struct Steps {
    /// dt + dt_bias
    raw: [f32; CHUNK],
    /// softplus of it
    delta: [f32; CHUNK],
    /// The exponent of the decay from the start of the chunk is `whole` + `rest`.
    whole: [f32; CHUNK],
    rest: [f32; CHUNK],
    /// e^ of that exponent.
    from_start: [f32; CHUNK],
    /// e^ of the exponent from the position to the chunk's last.
    to_end: [f32; CHUNK],
    count: usize,
}

impl Steps {
    fn new() -> Self {
        let zeros = [0.0; CHUNK];
        Self {
            raw: zeros,
            delta: zeros,
            whole: zeros,
            rest: zeros,
            from_start: zeros,
            to_end: zeros,
            count: 0,
        }
    }

    /// Of the `count` values of `dt` from `first`, `stride` apart.
    fn set(&mut self, dt: &[f32], [first, stride, count]: [usize; 3], bias: f32, a: f32) {
        let (mut whole, mut rest) = (0.0, 0.0);
        for t in 0..count {
            self.raw[t] = dt[first + t * stride] + bias;
            self.delta[t] = softplus(self.raw[t]);
            let exponent = self.delta[t] * a;
            // A comparison, not `max`: NaN must pass through.
            let exponent = if exponent < LEAST_EXPONENT {
                LEAST_EXPONENT
            } else {
                exponent
            };
            let step = (exponent * EXPONENT_STEPS).round() / EXPONENT_STEPS;
            whole += step;
            rest += exponent - step;
            self.whole[t] = whole;
            self.rest[t] = rest;
        }
        for t in 0..count {
            self.from_start[t] = (self.whole[t] + self.rest[t]).exp();
            self.to_end[t] = ((whole - self.whole[t]) + (rest - self.rest[t])).exp();
        }
        self.count = count;
    }

    /// The decay over the whole chunk.
    fn total(&self) -> f32 {
        self.from_start[self.count - 1]
    }
}

/// Where a chunk of a head of a sample lies.
#[derive(Clone, Copy)]
struct Place {
    sizes: Sizes,
    sample: usize,
    head: usize,
    chunk: usize,
}

impl Place {
    fn first(self) -> usize {
        self.chunk * CHUNK
    }

    fn count(self) -> usize {
        CHUNK.min(self.sizes.len - self.first())
    }

    /// First, stride and count of the chunk in `[B, L, H]`.
    fn steps(self) -> [usize; 3] {
        let Sizes { len, heads, .. } = self.sizes;
        [
            (self.sample * len + self.first()) * heads + self.head,
            heads,
            self.count(),
        ]
    }

    /// Start of the chunk in `[B, L, H, P]`.
    fn at_head(self) -> usize {
        self.steps()[0] * self.sizes.width
    }

    /// The chunk of `[B, L, H, P]`, `[count, P]`.
    fn of_head(self, values: &[f32]) -> Matrix<'_> {
        let Sizes { heads, width, .. } = self.sizes;
        let shape = [self.count(), width];
        Matrix::new(values, self.at_head(), shape, [(heads * width) as isize, 1])
    }

    /// Start of the chunk in `[B, L, G, N]`.
    fn at_group(self) -> usize {
        let Sizes {
            len, groups, state, ..
        } = self.sizes;
        let group = self.head / self.sizes.sharing();
        ((self.sample * len + self.first()) * groups + group) * state
    }

    /// The chunk of `[B, L, G, N]`, `[count, N]`.
    fn of_group(self, values: &[f32]) -> Matrix<'_> {
        let Sizes { groups, state, .. } = self.sizes;
        let shape = [self.count(), state];
        Matrix::new(
            values,
            self.at_group(),
            shape,
            [(groups * state) as isize, 1],
        )
    }

    /// Start of the state in `[B, chunks, H, P, N]`.
    fn at_state(self) -> usize {
        let Sizes {
            heads,
            width,
            state,
            ..
        } = self.sizes;
        ((self.sample * self.sizes.chunks() + self.chunk) * heads + self.head) * width * state
    }
}

/// What a thread keeps from one task to the next.
struct Scratch {
    steps: Steps,
    scores: Vec<f32>,
    products: Vec<f32>,
    rows: Vec<f32>,
    more_rows: Vec<f32>,
}

impl Scratch {
    fn new(sizes: Sizes) -> Self {
        let widest = sizes.width.max(sizes.state);
        Self {
            steps: Steps::new(),
            scores: vec![0.0; CHUNK * CHUNK],
            products: vec![0.0; CHUNK * CHUNK],
            rows: vec![0.0; CHUNK * widest],
            more_rows: vec![0.0; CHUNK * widest],
        }
    }
}

/// Rows `[count, columns]` of `values`, each times its factor, side by side in `out`.
fn scaled<'a>(
    values: &[f32],
    [first, stride, columns]: [usize; 3],
    factors: &[f32],
    out: &'a mut [f32],
) -> Matrix<'a> {
    for (row, (out, &factor)) in out.chunks_exact_mut(columns).zip(factors).enumerate() {
        let from = &values[first + row * stride..][..columns];
        for (out, &value) in out.iter_mut().zip(from) {
            *out = value * factor;
        }
    }
    whole(out, [factors.len(), columns])
}

/// A matrix of neighbouring rows.
fn whole(values: &[f32], shape: [usize; 2]) -> Matrix<'_> {
    Matrix::new(values, 0, shape, [shape[1] as isize, 1])
}

fn whole_mut(values: &mut [f32], shape: [usize; 2]) -> MatrixMut<'_> {
    MatrixMut::new(values, 0, shape, shape[1])
}

/// Products of two numbers in a pass, roughly.
fn products(sizes: Sizes) -> usize {
    sizes.batch * sizes.len * sizes.heads * (sizes.width + CHUNK) * sizes.state
}

/// The values of contiguous parts.
fn slices(parts: &Parts<FlexTensor>) -> Parts<&[f32]> {
    Parts {
        x: parts.x.storage::<f32>(),
        dt: parts.dt.storage::<f32>(),
        a: parts.a.storage::<f32>(),
        b: parts.b.storage::<f32>(),
        c: parts.c.storage::<f32>(),
        d: parts.d.storage::<f32>(),
        dt_bias: parts.dt_bias.storage::<f32>(),
    }
}
