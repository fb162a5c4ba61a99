//! Attention against a cache on the CPU: a pass over the keys and a pass over the values, the heads shared by the cores.

use burn_flex::FlexTensor;

use super::super::cpu::exponentials;
use crate::cpu::{blocks, contiguous, fresh, multiply_add, tensor, wide};

/// `[B, H, P]`.
pub(super) fn forward(
    query: FlexTensor,
    key: FlexTensor,
    value: FlexTensor,
    filled: usize,
) -> FlexTensor {
    let [query, key, value] = [query, key, value].map(contiguous);
    let shape = query.layout().shape().clone();
    let (heads, width) = (shape[1], shape[2]);
    let (stride, capacity) = (heads * width, key.layout().shape()[1]);
    let (q, k, v) = (
        query.storage::<f32>(),
        key.storage::<f32>(),
        value.storage::<f32>(),
    );
    let mut out = fresh(q.len());
    let scale = 1.0 / (width as f32).sqrt();
    // A quarter: rows are read once, there is little to do for each value.
    blocks(
        q.len() * filled / 4,
        [&mut out],
        [width],
        |sequence, [out]| {
            let (b, h) = (sequence / heads, sequence % heads);
            let first = b * capacity * stride + h * width;
            let mut weights = fresh(filled);
            let query = &q[sequence * width..(sequence + 1) * width];
            scores(query, &k[first..], stride, scale, &mut weights);
            let (_, total) = exponentials(&mut weights);
            weighted_sum(&weights, &v[first..], stride, 1.0 / total, out);
        },
    );
    tensor(out, shape)
}

/// Lanes that the compiler may keep in vector registers; floating-point sums do not reorder by themselves.
const LANES: usize = 16;

#[inline(always)]
fn scores_body<const FMA: bool>(
    query: &[f32],
    keys: &[f32],
    stride: usize,
    scale: f32,
    scores: &mut [f32],
) {
    for (row, score) in scores.iter_mut().enumerate() {
        let key = &keys[row * stride..row * stride + query.len()];
        let mut sums = [0.0; LANES];
        let (queries, keys) = (query.chunks_exact(LANES), key.chunks_exact(LANES));
        for ((sum, &q), &k) in sums
            .iter_mut()
            .zip(queries.remainder())
            .zip(keys.remainder())
        {
            *sum = q * k;
        }
        for (query, key) in queries.zip(keys) {
            for lane in 0..LANES {
                sums[lane] = multiply_add::<FMA>(query[lane], key[lane], sums[lane]);
            }
        }
        *score = sums.iter().sum::<f32>() * scale;
    }
}

wide! {
    /// Products of a query with rows that lie `stride` apart.
    fn scores(query: &[f32], keys: &[f32], stride: usize, scale: f32, scores: &mut [f32]) => scores_body
}

#[inline(always)]
fn weighted_sum_body<const FMA: bool>(
    weights: &[f32],
    values: &[f32],
    stride: usize,
    factor: f32,
    out: &mut [f32],
) {
    out.fill(0.0);
    let width = out.len();
    // Four rows at a time: the result is read and written once for them.
    let mut fours = weights.chunks_exact(4);
    let mut row = 0;
    for four in &mut fours {
        let [a, b, c, d]: [&[f32]; 4] =
            std::array::from_fn(|i| &values[(row + i) * stride..(row + i) * stride + width]);
        for p in 0..width {
            let near = multiply_add::<FMA>(four[0], a[p], four[1] * b[p]);
            let far = multiply_add::<FMA>(four[2], c[p], four[3] * d[p]);
            out[p] += near + far;
        }
        row += 4;
    }
    for &weight in fours.remainder() {
        let value = &values[row * stride..row * stride + width];
        for (out, &value) in out.iter_mut().zip(value) {
            *out = multiply_add::<FMA>(weight, value, *out);
        }
        row += 1;
    }
    out.iter_mut().for_each(|out| *out *= factor);
}

wide! {
    /// `factor` times the weighted sum of rows that lie `stride` apart.
    fn weighted_sum(weights: &[f32], values: &[f32], stride: usize, factor: f32, out: &mut [f32]) => weighted_sum_body
}
