//! Attention on the CPU: a block of query rows at a time, two matrix products a block and head in the layout the
//! projections give, weights recomputed in the backward pass.

use burn_flex::FlexTensor;

use super::Visible;
use crate::cpu::{contiguous, exp_negative, tensor, wide};
use crate::product::{Matrix, MatrixMut, Shared, tasks};

/// Query rows of a block: their weights for a few hundred keys stay in the second-level cache.
const ROWS: usize = 64;
/// Below this many products of two numbers one core is faster than waking the others.
const PARALLEL_PRODUCTS: usize = 64 * 1024;

/// Sizes of an attention: batch, queries, keys, heads, width.
struct Sizes {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    width: usize,
}

impl Sizes {
    fn of(query: &FlexTensor, key: &FlexTensor) -> Self {
        let (query, key) = (query.layout().shape(), key.layout().shape());
        Self {
            batch: query[0],
            queries: query[1],
            keys: key[1],
            heads: query[2],
            width: query[3],
        }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }

    fn parallel(&self) -> bool {
        self.batch * self.heads * self.queries * self.keys * self.width > PARALLEL_PRODUCTS
    }

    /// Real queries and keys of a sample.
    fn real(&self, visible: &Visible, b: usize) -> (usize, usize) {
        let keys = (visible.keys.as_slice()[b] as usize).min(self.keys);
        let queries = (visible.queries.as_slice()[b] as usize).min(self.queries);
        (if keys == 0 { 0 } else { queries }, keys)
    }
}

/// Keys that the rows `first..first + rows` see at most, and that row `first + row` sees.
fn seen(causal: bool, keys: usize, end: usize) -> usize {
    if causal { keys.min(end) } else { keys }
}

/// `(out [B, Lq, H, P], lse [B, Lq, H])`, natural logarithms.
pub(super) fn forward(
    query: FlexTensor,
    key: FlexTensor,
    value: FlexTensor,
    visible: &Visible,
) -> (FlexTensor, FlexTensor) {
    let sizes = Sizes::of(&query, &key);
    let Sizes {
        batch,
        queries,
        heads,
        width,
        ..
    } = sizes;
    // Zeros, because padded rows are never written.
    let mut out = vec![0.0; batch * queries * heads * width];
    let mut lse = vec![0.0; batch * queries * heads];
    let blocks = queries.div_ceil(ROWS);
    let (shared_out, shared_lse) = (Shared::new(&mut out), Shared::new(&mut lse));
    tasks(
        batch * heads * blocks,
        sizes.parallel(),
        Vec::new,
        |weights: &mut Vec<f32>, task| {
            let (b, h, block) = (
                task / (heads * blocks),
                task / blocks % heads,
                task % blocks,
            );
            let (real, keys) = sizes.real(visible, b);
            let first = block * ROWS;
            let end = real.min(first + ROWS);
            if first >= end {
                return;
            }
            let rows = end - first;
            let columns = seen(visible.causal, keys, end);
            weights.resize(weights.len().max(rows * columns), 0.0);
            let mut scores = MatrixMut::new(weights, 0, [rows, columns], columns);
            let keys_matrix = Matrix::of_head(&key, b, h, 0..columns);
            scores.set_product(
                Matrix::of_head(&query, b, h, first..end),
                keys_matrix.transposed(),
                sizes.scale(),
                false,
            );
            // SAFETY: a task alone writes the rows first..end of its sample and head.
            let (mut out, mut lse) = unsafe {
                let row = (b * queries + first) * heads + h;
                (
                    shared_out.matrix(row * width, [rows, width], heads * width),
                    shared_lse.matrix(row, [rows, 1], heads),
                )
            };
            let mut sums = [0.0; ROWS];
            for (row, total) in sums[..rows].iter_mut().enumerate() {
                let row_columns = seen(visible.causal, keys, first + row + 1);
                let (row_seen, unseen) = scores.row(row).split_at_mut(row_columns);
                let (max, sum) = exponentials(row_seen);
                unseen.fill(0.0);
                *total = sum;
                lse.row(row)[0] = max + sum.ln();
            }
            let weights = Matrix::new(weights, 0, [rows, columns], [columns as isize, 1]);
            out.set_product(
                weights,
                Matrix::of_head(&value, b, h, 0..columns),
                1.0,
                false,
            );
            for (row, total) in sums[..rows].iter().enumerate() {
                let factor = 1.0 / total;
                out.row(row).iter_mut().for_each(|value| *value *= factor);
            }
        },
    );
    (
        tensor(out, [batch, queries, heads, width]),
        tensor(lse, [batch, queries, heads]),
    )
}

/// `[dquery, dkey, dvalue]`.
pub(super) fn backward(
    saved: [FlexTensor; 5],
    gradient: FlexTensor,
    visible: &Visible,
) -> [FlexTensor; 3] {
    let [query, key, value, out, lse] = saved;
    // A gradient may be one number spread over a whole tensor.
    let gradient = contiguous(gradient);
    let sizes = Sizes::of(&query, &key);
    let Sizes {
        batch,
        queries,
        keys,
        heads,
        width,
    } = sizes;
    let mut dquery = vec![0.0; batch * queries * heads * width];
    let mut dkey = vec![0.0; batch * keys * heads * width];
    let mut dvalue = vec![0.0; batch * keys * heads * width];
    let shared = [
        Shared::new(&mut dquery),
        Shared::new(&mut dkey),
        Shared::new(&mut dvalue),
    ];
    let (out, lse) = (out.storage::<f32>(), lse.storage::<f32>());
    let upstream = gradient.storage::<f32>();
    let parallel = sizes.parallel();
    tasks(
        batch * heads,
        parallel,
        <[Vec<f32>; 2]>::default,
        |buffers: &mut [Vec<f32>; 2], task| {
            let (b, h) = (task / heads, task % heads);
            let (real, real_keys) = sizes.real(visible, b);
            let stride = heads * width;
            // SAFETY: a task alone writes its sample and head.
            let (mut dquery, mut dkey, mut dvalue) = unsafe {
                let keys_start = (b * keys * heads + h) * width;
                (
                    shared[0].matrix((b * queries * heads + h) * width, [queries, width], stride),
                    shared[1].matrix(keys_start, [real_keys, width], stride),
                    shared[2].matrix(keys_start, [real_keys, width], stride),
                )
            };
            for first in (0..real).step_by(ROWS) {
                // The first block without a causal edge writes every key row: nothing to add to.
                let add = first > 0 || visible.causal;
                let end = real.min(first + ROWS);
                let rows = end - first;
                let columns = seen(visible.causal, real_keys, end);
                let [weights, slopes] = buffers;
                for buffer in [&mut *weights, &mut *slopes] {
                    buffer.resize(buffer.len().max(rows * columns), 0.0);
                }
                let block_query = Matrix::of_head(&query, b, h, first..end);
                let block_key = Matrix::of_head(&key, b, h, 0..columns);
                let block_value = Matrix::of_head(&value, b, h, 0..columns);
                let block_gradient = Matrix::of_head(&gradient, b, h, first..end);
                let shape = [rows, columns];
                let mut p = MatrixMut::new(weights, 0, shape, columns);
                let mut ds = MatrixMut::new(slopes, 0, shape, columns);
                p.set_product(block_query, block_key.transposed(), sizes.scale(), false);
                ds.set_product(block_gradient, block_value.transposed(), 1.0, false);
                for row in 0..rows {
                    let at = (b * queries + first + row) * heads + h;
                    let values = at * width..(at + 1) * width;
                    let delta: f32 = out[values.clone()]
                        .iter()
                        .zip(&upstream[values])
                        .map(|(a, b)| a * b)
                        .sum();
                    let row_columns = seen(visible.causal, real_keys, first + row + 1);
                    let (p_seen, p_unseen) = p.row(row).split_at_mut(row_columns);
                    let (ds_seen, ds_unseen) = ds.row(row).split_at_mut(row_columns);
                    slope_row(p_seen, ds_seen, lse[at], delta);
                    p_unseen.fill(0.0);
                    ds_unseen.fill(0.0);
                }
                let strides = [columns as isize, 1];
                let (p, ds) = (
                    Matrix::new(weights, 0, shape, strides),
                    Matrix::new(slopes, 0, shape, strides),
                );
                dvalue
                    .rows(0..columns)
                    .set_product(p.transposed(), block_gradient, 1.0, add);
                dquery
                    .rows(first..end)
                    .set_product(ds, block_key, sizes.scale(), false);
                dkey.rows(0..columns)
                    .set_product(ds.transposed(), block_query, sizes.scale(), add);
            }
        },
    );
    [
        tensor(dquery, [batch, queries, heads, width]),
        tensor(dkey, [batch, keys, heads, width]),
        tensor(dvalue, [batch, keys, heads, width]),
    ]
}

/// Lanes that the compiler may keep in vector registers; floating-point sums do not reorder by themselves.
const LANES: usize = 16;

#[inline(always)]
fn exponentials_body<const FMA: bool>(row: &mut [f32]) -> (f32, f32) {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    for (lane, &value) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane = value;
    }
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    let max = lanes.iter().fold(
        f32::NEG_INFINITY,
        |max, &lane| if lane > max { lane } else { max },
    );
    let mut sums = [0.0; LANES];
    let mut chunks = row.chunks_exact_mut(LANES);
    for chunk in &mut chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *value = exp_negative::<FMA>(*value - max);
            *sum += *value;
        }
    }
    for (sum, value) in sums.iter_mut().zip(chunks.into_remainder()) {
        *value = exp_negative::<FMA>(*value - max);
        *sum += *value;
    }
    (max, sums.iter().sum())
}

wide! {
    /// Turns scores into exponentials of their distance from the largest; `(largest, sum of exponentials)`.
    fn exponentials(row: &mut [f32]) -> (f32, f32) => exponentials_body
}

#[inline(always)]
fn slope_row_body<const FMA: bool>(p: &mut [f32], ds: &mut [f32], lse: f32, delta: f32) {
    for (p, ds) in p.iter_mut().zip(ds) {
        *p = exp_negative::<FMA>(*p - lse);
        *ds = *p * (*ds - delta);
    }
}

wide! {
    /// Scores become weights, gradients of the weights become gradients of the scores.
    fn slope_row(p: &mut [f32], ds: &mut [f32], lse: f32, delta: f32) => slope_row_body
}
