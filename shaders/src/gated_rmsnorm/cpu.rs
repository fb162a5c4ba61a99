//! Gated RMS normalisation on the CPU: rows in blocks over the cores, sixteen partial sums so that the loops vectorise.

use burn_flex::FlexTensor;

use crate::cpu::{blocks, contiguous, exp_negative, fresh, multiply_add, tensor, wide};

/// Rows of a block. Part of the result: the sums of dweight are taken block by block.
const ROWS: usize = 32;
/// Partial sums of a reduction over a group.
const LANES: usize = 16;

/// 1 / (1 + e^−z), the exponent never above 0.
#[inline(always)]
fn sigmoid<const FMA: bool>(z: f32) -> f32 {
    let e = exp_negative::<FMA>(-z.abs());
    let top = if z >= 0.0 { 1.0 } else { e };
    top / (1.0 + e)
}

/// Sum of the products of two slices of one length.
#[inline(always)]
fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for l in 0..LANES {
            lanes[l] = multiply_add::<FMA>(a[l], b[l], lanes[l]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

/// `y` receives g first.
#[inline(always)]
fn forward_body<const FMA: bool>(
    x: &[f32],
    z: &[f32],
    weight: &[f32],
    width: usize,
    eps: f32,
    y: &mut [f32],
    stats: &mut [f32],
) {
    let weights = weight.chunks_exact(width).cycle();
    for ((((x, z), weight), y), stat) in x
        .chunks_exact(width)
        .zip(z.chunks_exact(width))
        .zip(weights)
        .zip(y.chunks_exact_mut(width))
        .zip(stats)
    {
        for ((y, &x), &z) in y.iter_mut().zip(x).zip(z) {
            // The gate first: behind a closed one no x overflows.
            *y = x * (z * sigmoid::<FMA>(z));
        }
        let rstd = 1.0 / (dot::<FMA>(y, y) / width as f32 + eps).sqrt();
        for (y, &weight) in y.iter_mut().zip(weight) {
            *y *= rstd * weight;
        }
        *stat = rstd;
    }
}

/// `gradient` holds dy and then dx, `dz` the normed values n before it is written, `dweight` the block's sums.
#[inline(always)]
#[allow(clippy::too_many_arguments)] // Slices of one block, all of them needed in one pass.
fn backward_body<const FMA: bool>(
    x: &[f32],
    z: &[f32],
    weight: &[f32],
    width: usize,
    stats: &[f32],
    gradient: &mut [f32],
    dz: &mut [f32],
    dweight: &mut [f32],
) {
    dweight.fill(0.0);
    let groups = weight.len() / width;
    for (slice, ((((x, z), dy), dz), &rstd)) in x
        .chunks_exact(width)
        .zip(z.chunks_exact(width))
        .zip(gradient.chunks_exact_mut(width))
        .zip(dz.chunks_exact_mut(width))
        .zip(stats)
        .enumerate()
    {
        let first = slice % groups * width;
        let weight = &weight[first..first + width];
        for ((n, &x), &z) in dz.iter_mut().zip(x).zip(z) {
            *n = x * (z * sigmoid::<FMA>(z)) * rstd;
        }
        for (((dw, dy), &n), &weight) in dweight[first..first + width]
            .iter_mut()
            .zip(dy.iter_mut())
            .zip(dz.iter())
            .zip(weight)
        {
            *dw = multiply_add::<FMA>(*dy, n, *dw);
            *dy *= weight;
        }
        let mean = dot::<FMA>(dy, dz) / width as f32;
        for (((dy, dz), &x), &z) in dy.iter_mut().zip(dz).zip(x).zip(z) {
            let s = sigmoid::<FMA>(z);
            let dg = rstd * (*dy - *dz * mean);
            *dy = dg * z * s;
            *dz = dg * x * s * (1.0 + z * (1.0 - s));
        }
    }
}

wide!(
    fn forward_rows(x: &[f32], z: &[f32], weight: &[f32], width: usize, eps: f32, y: &mut [f32], stats: &mut [f32]) => forward_body
);
wide!(
    #[allow(clippy::too_many_arguments)]
    fn backward_rows(x: &[f32], z: &[f32], weight: &[f32], width: usize, stats: &[f32], gradient: &mut [f32], dz: &mut [f32], dweight: &mut [f32]) => backward_body
);

/// `(y, stats)`, stats `[rows, groups]` with 1/√(mean(g²) + eps).
pub(super) fn forward(
    x: FlexTensor,
    z: FlexTensor,
    weight: FlexTensor,
    groups: usize,
    eps: f64,
) -> (FlexTensor, FlexTensor) {
    let (x, z, weight) = (contiguous(x), contiguous(z), contiguous(weight));
    let shape = x.layout().shape().clone();
    let (x, z) = (x.storage::<f32>(), z.storage::<f32>());
    let weight = weight.storage::<f32>();
    let columns = weight.len();
    let rows = x.len() / columns;
    let (mut y, mut stats) = (fresh(x.len()), fresh(rows * groups));
    blocks(
        x.len(),
        [&mut y, &mut stats],
        [ROWS * columns, ROWS * groups],
        |block, [y, stats]| {
            let part = block * ROWS * columns..block * ROWS * columns + y.len();
            let (x, z) = (&x[part.clone()], &z[part]);
            forward_rows(x, z, weight, columns / groups, eps as f32, y, stats);
        },
    );
    (tensor(y, shape), tensor(stats, [rows, groups]))
}

/// `(dx, dz, dweight)`; changes `dy` in place when this is its only handle.
pub(super) fn backward(
    x: FlexTensor,
    z: FlexTensor,
    weight: FlexTensor,
    stats: FlexTensor,
    dy: FlexTensor,
    groups: usize,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let (x, z) = (contiguous(x), contiguous(z));
    let (weight, mut dy) = (contiguous(weight), contiguous(dy));
    let shape = x.layout().shape().clone();
    let (x, z) = (x.storage::<f32>(), z.storage::<f32>());
    let (weight, stats) = (weight.storage::<f32>(), stats.storage::<f32>());
    let columns = weight.len();
    let rows = x.len() / columns;
    let mut dz = fresh(x.len());
    let mut partial = fresh(rows.div_ceil(ROWS) * columns);
    blocks(
        x.len(),
        [dy.storage_mut::<f32>(), &mut dz, &mut partial],
        [ROWS * columns, ROWS * columns, columns],
        |block, [gradient, dz, dweight]| {
            let first = block * ROWS;
            let part = first * columns..first * columns + gradient.len();
            backward_rows(
                &x[part.clone()],
                &z[part],
                weight,
                columns / groups,
                &stats[first * groups..],
                gradient,
                dz,
                dweight,
            );
        },
    );
    let mut dweight = vec![0.0; columns];
    for partial in partial.chunks_exact(columns) {
        for (sum, value) in dweight.iter_mut().zip(partial) {
            *sum += value;
        }
    }
    (dy, tensor(dz, shape), tensor(dweight, [columns]))
}
