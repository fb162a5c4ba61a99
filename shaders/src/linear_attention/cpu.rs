//! Linear attention on the CPU: matrix products over blocks of positions, the samples and heads shared by the cores. Causal
//! sums are carried from block to block, so that nothing but the sums of one block is held.

use burn_flex::FlexTensor;

use super::{EPS, Forward, Saved};
use crate::Lengths;
use crate::cpu::{contiguous, exp_negative, tensor, wide};
use crate::product::{Matrix, MatrixMut, Shared, tasks};

/// Positions of a block.
const ROWS: usize = 64;
/// Below this many products of two numbers one core is faster than waking the others.
const PARALLEL_PRODUCTS: usize = 64 * 1024;

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
    /// `[P, P]` and `[P]`
    kv: Vec<f32>,
    z: Vec<f32>,
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
            kv: vec![0.0; width * width],
            z: vec![0.0; width],
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

pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    for ((sum, a), b) in sums.iter_mut().zip(a.remainder()).zip(b.remainder()) {
        *sum = a * b;
    }
    for (a, b) in a.zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
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
        for lane in 0..LANES {
            sums[lane] += values[lane];
        }
    }
    sums.iter().sum()
}

/// `sum += factor · row`
pub(super) fn add_row(sum: &mut [f32], row: &[f32], factor: f32) {
    sum.iter_mut()
        .zip(row)
        .for_each(|(sum, value)| *sum += factor * value);
}

/// y, kv, z, normalisers.
pub(super) fn forward(
    inputs: [FlexTensor; 3],
    lengths: &Lengths,
    causal: bool,
) -> Forward<FlexTensor> {
    let [query, key, value] = inputs.map(contiguous);
    let sizes = Sizes::of(&query);
    let Sizes {
        batch,
        len,
        heads,
        width,
    } = sizes;
    let stride = sizes.stride();
    let (q, k, v) = (
        query.storage::<f32>(),
        key.storage::<f32>(),
        value.storage::<f32>(),
    );
    // Zeros, because padded rows are never written.
    let mut y = vec![0.0; q.len()];
    let mut normaliser = vec![0.0; batch * len * heads];
    let mut kv = vec![0.0; batch * heads * width * width];
    let mut z = vec![0.0; batch * heads * width];
    let shared = [&mut y, &mut normaliser, &mut kv, &mut z].map(|values| Shared::new(values));
    tasks(
        batch * heads,
        sizes.parallel(),
        || Scratch::new(width),
        |scratch, task| {
            let n = sizes.real(lengths, task);
            // SAFETY: a task alone uses its sample and head.
            let (mut kv, mut z) = unsafe {
                (
                    shared[2].matrix(task * width * width, [width, width], width),
                    shared[3].matrix(task * width, [1, width], width),
                )
            };
            let take = |scratch: &mut Scratch, kv: &mut MatrixMut<'_>, z: &mut [f32], block| {
                let rows = block_rows(block);
                let key = &scratch.key[..rows * width];
                let values = sizes.rows(v, task, block);
                kv.set_product(whole(key, rows, width).transposed(), values, 1.0, true);
                key.chunks_exact(width).for_each(|row| add_row(z, row, 1.0));
            };
            if !causal {
                for block in blocks(n) {
                    let rows = block_rows(block);
                    features(
                        &k[sizes.at(task, block[0])..],
                        stride,
                        width,
                        &mut scratch.key[..rows * width],
                    );
                    take(scratch, &mut kv, z.row(0), block);
                }
            }
            for block in blocks(n) {
                let (rows, start) = (block_rows(block), sizes.at(task, block[0]));
                let used = rows * width;
                features(&q[start..], stride, width, &mut scratch.query[..used]);
                // SAFETY: as above.
                let (mut y, mut normaliser) = unsafe {
                    (
                        sizes.rows_mut(&shared[0], task, block),
                        shared[1].matrix(start / width, [rows, 1], heads),
                    )
                };
                let sums = kv.read();
                y.set_product(whole(&scratch.query, rows, width), sums, 1.0, false);
                for (row, query) in scratch.query[..used].chunks_exact(width).enumerate() {
                    normaliser.row(row)[0] = dot(query, z.row(0)) + EPS as f32;
                }
                if causal {
                    features(&k[start..], stride, width, &mut scratch.key[..used]);
                    whole_mut(&mut scratch.weights, rows, rows).set_product(
                        whole(&scratch.query, rows, width),
                        whole(&scratch.key, rows, width).transposed(),
                        1.0,
                        false,
                    );
                    for row in 0..rows {
                        let (seen, unseen) =
                            scratch.weights[row * rows..(row + 1) * rows].split_at_mut(row + 1);
                        normaliser.row(row)[0] += sum(seen);
                        unseen.fill(0.0);
                    }
                    let values = sizes.rows(v, task, block);
                    y.set_product(whole(&scratch.weights, rows, rows), values, 1.0, true);
                    take(scratch, &mut kv, z.row(0), block);
                }
                for row in 0..rows {
                    let factor = 1.0 / normaliser.row(row)[0];
                    y.row(row).iter_mut().for_each(|value| *value *= factor);
                }
            }
        },
    );
    Forward {
        y: tensor(y, [batch, len, heads, width]),
        kv: tensor(kv, [batch, heads, width, width]),
        z: tensor(z, [batch, heads, width]),
        normaliser: tensor(normaliser, [batch, len, heads]),
        states: None,
    }
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

/// Multiplies gradients of φ(x) by φ′(x): 1 above 0, eˣ = φ(x) below.
fn through_features(gradient: &mut [f32], features: &[f32]) {
    for (gradient, &feature) in gradient.iter_mut().zip(features) {
        *gradient *= if feature > 1.0 { 1.0 } else { feature };
    }
}

/// What the passes over blocks in the backward pass read.
struct Reader<'a> {
    sizes: Sizes,
    inputs: [&'a [f32]; 3],
    y: &'a [f32],
    normaliser: &'a [f32],
    upstream: &'a [f32],
}

impl Reader<'_> {
    /// φ(q), φ(k), gradient over normaliser and gradient of the normaliser of a block.
    fn fill(&self, scratch: &mut Scratch, task: usize, block: [usize; 2]) {
        let Sizes { width, heads, .. } = self.sizes;
        let (rows, start) = (block_rows(block), self.sizes.at(task, block[0]));
        let (used, stride) = (rows * width, self.sizes.stride());
        let [q, k, _] = self.inputs;
        features(&q[start..], stride, width, &mut scratch.query[..used]);
        features(&k[start..], stride, width, &mut scratch.key[..used]);
        for row in 0..rows {
            let at = start + row * stride;
            let factor = 1.0 / self.normaliser[start / width + row * heads];
            let (upstream, y) = (&self.upstream[at..at + width], &self.y[at..at + width]);
            let gradient = &mut scratch.gradient[row * width..(row + 1) * width];
            for (gradient, upstream) in gradient.iter_mut().zip(upstream) {
                *gradient = upstream * factor;
            }
            scratch.slope[row] = -dot(gradient, y);
        }
    }

    /// Products of a block with itself, below the diagonal: φ(q)φ(k)ᵀ and the gradient of it.
    fn inside(&self, scratch: &mut Scratch, task: usize, block: [usize; 2], both: bool) {
        let (rows, width) = (block_rows(block), self.sizes.width);
        let values = self.sizes.rows(self.inputs[2], task, block);
        whole_mut(&mut scratch.slopes, rows, rows).set_product(
            whole(&scratch.gradient, rows, width),
            values.transposed(),
            1.0,
            false,
        );
        if both {
            whole_mut(&mut scratch.weights, rows, rows).set_product(
                whole(&scratch.query, rows, width),
                whole(&scratch.key, rows, width).transposed(),
                1.0,
                false,
            );
        }
        for row in 0..rows {
            let line = row * rows..(row + 1) * rows;
            let (seen, unseen) = scratch.slopes[line.clone()].split_at_mut(row + 1);
            seen.iter_mut()
                .for_each(|slope| *slope += scratch.slope[row]);
            unseen.fill(0.0);
            if both {
                scratch.weights[line][row + 1..].fill(0.0);
            }
        }
    }
}

/// `[dquery, dkey, dvalue]`.
pub(super) fn backward(saved: Saved<FlexTensor>, gradient: FlexTensor) -> [FlexTensor; 3] {
    let Saved {
        inputs,
        forward,
        lengths,
        causal,
    } = saved;
    // A gradient may be one number spread over a whole tensor.
    let gradient = contiguous(gradient);
    let inputs = inputs.map(contiguous);
    let sizes = Sizes::of(&inputs[0]);
    let (width, stride) = (sizes.width, sizes.stride());
    let reader = Reader {
        sizes,
        inputs: inputs.each_ref().map(|input| input.storage::<f32>()),
        y: forward.y.storage::<f32>(),
        normaliser: forward.normaliser.storage::<f32>(),
        upstream: gradient.storage::<f32>(),
    };
    let (kv, z) = (forward.kv.storage::<f32>(), forward.z.storage::<f32>());
    let v = reader.inputs[2];
    // Zeros, because padded rows are never written.
    let mut results = [(); 3].map(|()| vec![0.0; reader.upstream.len()]);
    let shared = results.each_mut().map(|values| Shared::new(values));
    tasks(
        sizes.batch * sizes.heads,
        sizes.parallel(),
        || Scratch::new(width),
        |scratch, task| {
            let n = sizes.real(&lengths, task);
            // Sums over the keys: whole, or what lies before a block.
            if causal {
                scratch.kv.fill(0.0);
                scratch.z.fill(0.0);
            } else {
                let square = width * width;
                scratch
                    .kv
                    .copy_from_slice(&kv[task * square..(task + 1) * square]);
                scratch
                    .z
                    .copy_from_slice(&z[task * width..(task + 1) * width]);
            }
            for block in blocks(n) {
                let rows = block_rows(block);
                reader.fill(scratch, task, block);
                // SAFETY: a task alone uses its sample and head.
                let mut dquery = unsafe { sizes.rows_mut(&shared[0], task, block) };
                dquery.set_product(
                    whole(&scratch.gradient, rows, width),
                    whole(&scratch.kv, width, width).transposed(),
                    1.0,
                    false,
                );
                if causal {
                    reader.inside(scratch, task, block, false);
                    let key = whole(&scratch.key, rows, width);
                    dquery.set_product(whole(&scratch.slopes, rows, rows), key, 1.0, true);
                    let key = whole(&scratch.key, rows, width).transposed();
                    let values = sizes.rows(v, task, block);
                    whole_mut(&mut scratch.kv, width, width).set_product(key, values, 1.0, true);
                }
                for row in 0..rows {
                    let line = row * width..(row + 1) * width;
                    add_row(dquery.row(row), &scratch.z, scratch.slope[row]);
                    through_features(dquery.row(row), &scratch.query[line]);
                }
                if causal {
                    for row in scratch.key[..rows * width].chunks_exact(width) {
                        add_row(&mut scratch.z, row, 1.0);
                    }
                }
            }
            // Gradients of the sums: whole, or what comes from behind a block.
            scratch.kv.fill(0.0);
            scratch.z.fill(0.0);
            if !causal {
                for block in blocks(n) {
                    reader.fill(scratch, task, block);
                    add_sums(scratch, block_rows(block), width);
                }
            }
            for block in blocks(n).rev() {
                let (rows, start) = (block_rows(block), sizes.at(task, block[0]));
                if causal {
                    reader.fill(scratch, task, block);
                    reader.inside(scratch, task, block, true);
                } else {
                    let key = &mut scratch.key[..rows * width];
                    features(&reader.inputs[1][start..], stride, width, key);
                }
                // SAFETY: a task alone uses its sample and head.
                let (mut dkey, mut dvalue) = unsafe {
                    (
                        sizes.rows_mut(&shared[1], task, block),
                        sizes.rows_mut(&shared[2], task, block),
                    )
                };
                let sums = whole(&scratch.kv, width, width);
                let values = sizes.rows(v, task, block);
                dkey.set_product(values, sums.transposed(), 1.0, false);
                dvalue.set_product(whole(&scratch.key, rows, width), sums, 1.0, false);
                if causal {
                    dkey.set_product(
                        whole(&scratch.slopes, rows, rows).transposed(),
                        whole(&scratch.query, rows, width),
                        1.0,
                        true,
                    );
                    dvalue.set_product(
                        whole(&scratch.weights, rows, rows).transposed(),
                        whole(&scratch.gradient, rows, width),
                        1.0,
                        true,
                    );
                }
                for row in 0..rows {
                    let line = row * width..(row + 1) * width;
                    add_row(dkey.row(row), &scratch.z, 1.0);
                    through_features(dkey.row(row), &scratch.key[line]);
                }
                if causal {
                    add_sums(scratch, rows, width);
                }
            }
        },
    );
    let shape = [sizes.batch, sizes.len, sizes.heads, width];
    results.map(|values| tensor(values, shape))
}

/// Adds a block to the gradients of the sums.
fn add_sums(scratch: &mut Scratch, rows: usize, width: usize) {
    whole_mut(&mut scratch.kv, width, width).set_product(
        whole(&scratch.query, rows, width).transposed(),
        whole(&scratch.gradient, rows, width),
        1.0,
        true,
    );
    let queries = scratch.query[..rows * width].chunks_exact(width);
    for (row, &slope) in queries.zip(&scratch.slope) {
        add_row(&mut scratch.z, row, slope);
    }
}
