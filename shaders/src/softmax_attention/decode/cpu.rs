//! Attention against a cache on the CPU: blocks of positions, shared by the cores and put together at the end. A position's heads
//! are read together, as they lie in memory.

use burn_flex::FlexTensor;

use super::super::cpu::exponentials;
use crate::cpu::{blocks, contiguous, exp_negative, fresh, multiply_add, tensor, wide};

/// Positions of a block.
const BLOCK: usize = 128;

/// `[B, H, P]`.
pub(super) fn forward(
    query: FlexTensor,
    key: FlexTensor,
    value: FlexTensor,
    filled: usize,
) -> FlexTensor {
    let [query, key, value] = [query, key, value].map(contiguous);
    let shape = query.layout().shape().clone();
    let (batch, heads, width) = (shape[0], shape[1], shape[2]);
    let (row, capacity) = (heads * width, key.layout().shape()[1]);
    let (q, k, v) = (
        query.storage::<f32>(),
        key.storage::<f32>(),
        value.storage::<f32>(),
    );
    let count = filled.div_ceil(BLOCK);
    // Of each block the weighted values [H, P], then the largest score [H] and the sum of the weights [H].
    let part = row + 2 * heads;
    let mut parts = fresh(batch * count * part);
    // A sixteenth: one core reads nearly as fast as two, and waking the other takes as long as some hundred rows.
    let values = q.len() * filled / 16;
    blocks(values, [&mut parts], [part], |number, [part]| {
        let (b, first) = (number / count, number % count * BLOCK);
        let positions = first..filled.min(first + BLOCK);
        let rows = (b * capacity + positions.start) * row..(b * capacity + positions.end) * row;
        let mut weights = fresh(heads * positions.len());
        scores(&q[b * row..][..row], &k[rows.clone()], width, &mut weights);
        let (sums, facts) = part.split_at_mut(row);
        let (largest, totals) = facts.split_at_mut(heads);
        let per_head = weights.chunks_exact_mut(positions.len());
        for ((weights, largest), total) in per_head.zip(largest).zip(totals) {
            (*largest, *total) = exponentials(weights);
        }
        weighted_sum(&weights, &v[rows], width, sums);
    });
    let mut out = fresh(q.len());
    for (out, parts) in out
        .chunks_exact_mut(row)
        .zip(parts.chunks_exact(count * part))
    {
        for (h, out) in out.chunks_exact_mut(width).enumerate() {
            let of_blocks = || parts.chunks_exact(part);
            let largest = of_blocks().map(|part| part[row + h]);
            let largest = largest.fold(f32::NEG_INFINITY, f32::max);
            let shrink = |part: &[f32]| exp_negative::<false>(part[row + h] - largest);
            let total = of_blocks().map(|part| shrink(part) * part[row + heads + h]);
            let total: f32 = total.sum();
            out.fill(0.0);
            for part in of_blocks() {
                let factor = shrink(part) / total;
                for (out, value) in out.iter_mut().zip(&part[h * width..][..width]) {
                    *out += factor * value;
                }
            }
        }
    }
    tensor(out, shape)
}

/// Lanes that the compiler may keep in vector registers; floating-point sums do not reorder by themselves.
const LANES: usize = 8;

/// The sum of all lanes, in pairs: one after the other they would wait for each other.
#[inline(always)]
fn across(lanes: [f32; LANES]) -> f32 {
    let four: [f32; 4] = std::array::from_fn(|i| lanes[i] + lanes[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

/// Products of a row with each of `rows`, all of one width.
#[inline(always)]
fn dots<const FMA: bool, const N: usize>(query: &[f32], rows: [&[f32]; N]) -> [f32; N] {
    let mut sums = [[0.0; LANES]; N];
    let (queries, rest) = query.as_chunks::<LANES>();
    let whole = queries.len() * LANES;
    for (at, query) in queries.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(rows) {
            let row = &row[at * LANES..][..LANES];
            for ((sum, &q), &k) in sums.iter_mut().zip(query).zip(row) {
                *sum = multiply_add::<FMA>(q, k, *sum);
            }
        }
    }
    for (sums, row) in sums.iter_mut().zip(rows) {
        for ((sum, &q), &k) in sums.iter_mut().zip(rest).zip(&row[whole..]) {
            *sum = multiply_add::<FMA>(q, k, *sum);
        }
    }
    sums.map(across)
}

#[inline(always)]
fn scores_body<const FMA: bool>(query: &[f32], keys: &[f32], width: usize, scores: &mut [f32]) {
    let (row, positions) = (query.len(), keys.len() / query.len());
    let scale = 1.0 / (width as f32).sqrt();
    // Four rows at a time: four streams from memory, and four sums that do not wait for each other.
    let fours = keys.chunks_exact(4 * row);
    let (whole, rest) = (positions / 4 * 4, fours.remainder());
    for (four, keys) in fours.enumerate() {
        for (h, query) in query.chunks_exact(width).enumerate() {
            let rows = std::array::from_fn(|i| &keys[i * row + h * width..][..width]);
            let dots = dots::<FMA, 4>(query, rows);
            let scores = &mut scores[h * positions + 4 * four..][..4];
            for (score, dot) in scores.iter_mut().zip(dots) {
                *score = dot * scale;
            }
        }
    }
    for (position, key) in (whole..positions).zip(rest.chunks_exact(row)) {
        let heads = query.chunks_exact(width).zip(key.chunks_exact(width));
        for (h, (query, key)) in heads.enumerate() {
            let [dot] = dots::<FMA, 1>(query, [key]);
            scores[h * positions + position] = dot * scale;
        }
    }
}

wide! {
    /// Scores `[H, positions]` of a query `[H, P]` and keys `[positions, H, P]`.
    fn scores(query: &[f32], keys: &[f32], width: usize, scores: &mut [f32]) => scores_body
}

#[inline(always)]
fn weighted_sum_body<const FMA: bool>(
    weights: &[f32],
    values: &[f32],
    width: usize,
    out: &mut [f32],
) {
    out.fill(0.0);
    let row = out.len();
    let positions = values.len() / row;
    // Four rows at a time: the result is read and written once for them.
    let fours = values.chunks_exact(4 * row);
    let (whole, rest) = (positions / 4 * 4, fours.remainder());
    for (four, values) in fours.enumerate() {
        let [a, b, c, d]: [&[f32]; 4] = std::array::from_fn(|i| &values[i * row..(i + 1) * row]);
        for (h, out) in out.chunks_exact_mut(width).enumerate() {
            let weights = &weights[h * positions + 4 * four..][..4];
            let at = h * width..(h + 1) * width;
            let rows =
                (a[at.clone()].iter().zip(&b[at.clone()])).zip(c[at.clone()].iter().zip(&d[at]));
            for (out, ((&a, &b), (&c, &d))) in out.iter_mut().zip(rows) {
                let near = multiply_add::<FMA>(weights[0], a, weights[1] * b);
                let far = multiply_add::<FMA>(weights[2], c, weights[3] * d);
                *out += near + far;
            }
        }
    }
    for (position, values) in (whole..positions).zip(rest.chunks_exact(row)) {
        let heads = out.chunks_exact_mut(width).zip(values.chunks_exact(width));
        for (h, (out, values)) in heads.enumerate() {
            let weight = weights[h * positions + position];
            for (out, &value) in out.iter_mut().zip(values) {
                *out = multiply_add::<FMA>(weight, value, *out);
            }
        }
    }
}

wide! {
    /// The sum `[H, P]` of values `[positions, H, P]` with weights `[H, positions]`.
    fn weighted_sum(weights: &[f32], values: &[f32], width: usize, out: &mut [f32]) => weighted_sum_body
}
