//! Linear attention on the CPU: matrix products over blocks of positions, the samples and groups of heads shared by the cores. Causal
//! sums are carried from block to block, so that nothing but the sums of one block is held. Here what
//! both passes share.

mod backward;
mod forward;

pub(super) use backward::backward;
pub(super) use forward::forward;

use std::ops::Range;

use burn_flex::FlexTensor;

use crate::Lengths;
use crate::cpu::{exp_negative, wide};
use crate::product::{Matrix, MatrixMut, Shared};

/// Positions of a block.
const ROWS: usize = 64;
/// Below this many products of two numbers one core is faster than waking the others.
const PARALLEL_PRODUCTS: usize = 64 * 1024;
/// Heads of a group at most: their sums stay in a core's cache.
const MOST_HEADS: usize = 8;

/// Sizes of an attention.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    len: usize,
    heads: usize,
    width: usize,
}

impl Sizes {
    fn of(tensor: &FlexTensor) -> Self {
        let shape = tensor.layout().shape();
        Self {
            batch: shape[0],
            len: shape[1],
            heads: shape[2],
            width: shape[3],
        }
    }

    fn parallel(&self) -> bool {
        self.batch * self.len * self.heads * self.width * self.width > PARALLEL_PRODUCTS
    }

    /// Heads that a task takes side by side, block by block: one alone would read a few hundred bytes of every page. Each core
    /// gets two tasks where there are heads enough.
    fn group(&self) -> usize {
        #[cfg(not(target_family = "wasm"))]
        let cores = rayon::current_num_threads();
        #[cfg(target_family = "wasm")]
        let cores = 1;
        (self.batch * self.heads)
            .div_ceil(2 * cores)
            .clamp(1, MOST_HEADS.min(self.heads))
    }

    /// Number of such groups.
    fn groups(&self) -> usize {
        self.batch * self.heads.div_ceil(self.group())
    }

    /// The heads of a group, counted over the samples.
    fn heads_of(&self, group: usize) -> Range<usize> {
        let (size, of_sample) = (self.group(), self.heads.div_ceil(self.group()));
        let first = group % of_sample * size;
        let sample = group / of_sample * self.heads;
        sample + first..sample + self.heads.min(first + size)
    }

    /// Distance between neighbouring positions.
    fn stride(&self) -> usize {
        self.heads * self.width
    }

    /// Where position `position` of a sample and head begins.
    fn at(&self, task: usize, position: usize) -> usize {
        let (b, h) = (task / self.heads, task % self.heads);
        ((b * self.len + position) * self.heads + h) * self.width
    }

    /// Real positions of a sample.
    fn real(&self, lengths: &Lengths, task: usize) -> usize {
        (lengths.as_slice()[task / self.heads] as usize).min(self.len)
    }

    /// Rows of a sample and head as a matrix.
    fn rows<'a>(&self, values: &'a [f32], task: usize, [first, end]: [usize; 2]) -> Matrix<'a> {
        let strides = [self.stride() as isize, 1];
        Matrix::new(
            values,
            self.at(task, first),
            [end - first, self.width],
            strides,
        )
    }

    /// The same of a result.
    ///
    /// # Safety
    /// No two matrices of one sample and head may be in use at once.
    unsafe fn rows_mut<'a>(
        &self,
        shared: &'a Shared<'_>,
        task: usize,
        [first, end]: [usize; 2],
    ) -> MatrixMut<'a> {
        // SAFETY: as the caller promises.
        unsafe {
            shared.matrix(
                self.at(task, first),
                [end - first, self.width],
                self.stride(),
            )
        }
    }

    /// Makes the padded rows of a sample and head zero.
    ///
    /// # Safety
    /// As [`Self::rows_mut`].
    unsafe fn clear_padding(&self, shared: &Shared<'_>, task: usize, real: usize) {
        // SAFETY: as the caller promises.
        let mut rows = unsafe { self.rows_mut(shared, task, [real, self.len]) };
        (0..self.len - real).for_each(|row| rows.row(row).fill(0.0));
    }
}

/// What a thread keeps from one task to the next.
struct Scratch {
    /// φ(q), φ(k) and gradient over normaliser of a block, `[ROWS, P]` each
    query: Vec<f32>,
    key: Vec<f32>,
    gradient: Vec<f32>,
    /// Upstream gradient of each normaliser of a block
    slope: [f32; ROWS],
    /// Products of a block with itself, `[ROWS, ROWS]` each
    weights: Vec<f32>,
    slopes: Vec<f32>,
}

/// The sums of a head on the way back.
struct Sums {
    /// `[P, P]` and `[P]`
    kv: Vec<f32>,
    z: Vec<f32>,
    /// Gradients of them
    dkv: Vec<f32>,
    dz: Vec<f32>,
}

impl Sums {
    fn new(width: usize) -> Self {
        Self {
            kv: vec![0.0; width * width],
            z: vec![0.0; width],
            dkv: vec![0.0; width * width],
            dz: vec![0.0; width],
        }
    }
}

impl Scratch {
    fn new(width: usize) -> Self {
        let (rows, square) = (|| vec![0.0; ROWS * width], || vec![0.0; ROWS * ROWS]);
        Self {
            query: rows(),
            key: rows(),
            gradient: rows(),
            slope: [0.0; ROWS],
            weights: square(),
            slopes: square(),
        }
    }
}

/// `[first, end]` of the blocks of `n` positions.
fn blocks(n: usize) -> impl DoubleEndedIterator<Item = [usize; 2]> {
    (0..n.div_ceil(ROWS)).map(move |block| [block * ROWS, n.min((block + 1) * ROWS)])
}

/// Neighbouring rows as a matrix.
fn whole(values: &[f32], rows: usize, columns: usize) -> Matrix<'_> {
    Matrix::new(values, 0, [rows, columns], [columns as isize, 1])
}

/// The first `rows` rows of a `[ROWS, columns]` buffer that is to be written.
fn whole_mut(values: &mut [f32], rows: usize, columns: usize) -> MatrixMut<'_> {
    MatrixMut::new(values, 0, [rows, columns], columns)
}

/// Lanes that the compiler may keep in vector registers; floating-point sums do not reorder by themselves.
const LANES: usize = 8;

pub(in crate::linear_attention) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for ((sum, a), b) in sums.iter_mut().zip(a.remainder()).zip(b.remainder()) {
        *sum = a * b;
    }
    for (a, b) in a.zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

fn sum(values: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let values = values.chunks_exact(LANES);
    sums.iter_mut()
        .zip(values.remainder())
        .for_each(|(sum, value)| *sum = *value);
    for values in values {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += value;
        }
    }
    sums.iter().sum()
}

/// `sum += factor · row`
pub(in crate::linear_attention) fn add_row(sum: &mut [f32], row: &[f32], factor: f32) {
    sum.iter_mut()
        .zip(row)
        .for_each(|(sum, value)| *sum += factor * value);
}

fn block_rows([first, end]: [usize; 2]) -> usize {
    end - first
}

#[inline(always)]
fn features_body<const FMA: bool>(x: &[f32], stride: usize, width: usize, out: &mut [f32]) {
    for (row, out) in out.chunks_exact_mut(width).enumerate() {
        let x = &x[row * stride..row * stride + width];
        for (out, &x) in out.iter_mut().zip(x) {
            let low = exp_negative::<FMA>(if x > 0.0 { 0.0 } else { x });
            *out = if x > 0.0 { x + 1.0 } else { low };
        }
    }
}

wide! {
    /// φ of rows of `width` values that lie `stride` apart, to neighbouring rows.
    fn features(x: &[f32], stride: usize, width: usize, out: &mut [f32]) => features_body
}
