//! Layer normalisation on the CPU: rows in blocks over the cores, sixteen partial sums so that the loops vectorise.

use burn_flex::FlexTensor;

use crate::cpu::{blocks, contiguous, fresh, multiply_add, tensor, wide};

/// Rows of a block. Part of the result: the sums of dweight and dbias are taken block by block.
const ROWS: usize = 32;
/// Partial sums of a reduction over a row.
const LANES: usize = 16;

#[inline(always)]
fn total(lanes: [f32; LANES]) -> f32 {
    let mut lanes = lanes;
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[inline(always)]
fn forward_body<const FMA: bool>(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    y: &mut [f32],
    stats: &mut [f32],
) {
    let width = weight.len();
    let scale = 1.0 / width as f32;
    for ((x, y), stats) in x
        .chunks_exact(width)
        .zip(y.chunks_exact_mut(width))
        .zip(stats.chunks_exact_mut(2))
    {
        let (parts, rest) = x.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for part in parts {
            for l in 0..LANES {
                lanes[l] += part[l];
            }
        }
        let mean = (total(lanes) + rest.iter().sum::<f32>()) * scale;
        // A second pass over the row, which is in the cache: E[x²] − E[x]² cancels.
        let mut lanes = [0.0; LANES];
        for part in parts {
            for l in 0..LANES {
                let centred = part[l] - mean;
                lanes[l] = multiply_add::<FMA>(centred, centred, lanes[l]);
            }
        }
        let rest: f32 = rest.iter().map(|x| (x - mean) * (x - mean)).sum();
        let rstd = 1.0 / ((total(lanes) + rest) * scale + eps).sqrt();
        for (((y, &x), &weight), &bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
            *y = multiply_add::<FMA>((x - mean) * rstd, weight, bias);
        }
        stats[0] = mean;
        stats[1] = rstd;
    }
}

/// `gradient` holds dy and then dx; `partial` the block's sums of dweight, then of dbias.
#[inline(always)]
fn backward_body<const FMA: bool>(
    x: &[f32],
    stats: &[f32],
    weight: &[f32],
    gradient: &mut [f32],
    partial: &mut [f32],
) {
    let width = weight.len();
    let scale = 1.0 / width as f32;
    partial.fill(0.0);
    let (dweight, dbias) = partial.split_at_mut(width);
    for ((x, stats), row) in x
        .chunks_exact(width)
        .zip(stats.chunks_exact(2))
        .zip(gradient.chunks_exact_mut(width))
    {
        let (mean, rstd) = (stats[0], stats[1]);
        // Two passes: the sums into the columns and the sums along the row do not share registers.
        for (((dweight, dbias), &dy), &x) in dweight
            .iter_mut()
            .zip(dbias.iter_mut())
            .zip(row.iter())
            .zip(x)
        {
            *dweight = multiply_add::<FMA>(dy, (x - mean) * rstd, *dweight);
            *dbias += dy;
        }
        let mut sum = [0.0; LANES];
        let mut product = [0.0; LANES];
        let whole = width - width % LANES;
        for start in (0..whole).step_by(LANES) {
            let (dy, x, weight) = (
                &row[start..start + LANES],
                &x[start..start + LANES],
                &weight[start..start + LANES],
            );
            for l in 0..LANES {
                let g = dy[l] * weight[l];
                sum[l] += g;
                product[l] = multiply_add::<FMA>(g, x[l] - mean, product[l]);
            }
        }
        let (mut sum, mut product) = (total(sum), total(product));
        for i in whole..width {
            let g = row[i] * weight[i];
            sum += g;
            product += g * (x[i] - mean);
        }
        // dx = rstd (g − mean(g) − x̂ mean(g x̂)), with x̂ = (x − mean) rstd taken out of the sums.
        let sum = sum * scale;
        let slope = product * rstd * rstd * scale;
        for ((dy, &x), &weight) in row.iter_mut().zip(x).zip(weight) {
            let g = multiply_add::<FMA>(*dy, weight, -sum);
            *dy = rstd * multiply_add::<FMA>(mean - x, slope, g);
        }
    }
}

wide!(
    fn forward_rows(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32], stats: &mut [f32]) => forward_body
);
wide!(
    fn backward_rows(x: &[f32], stats: &[f32], weight: &[f32], gradient: &mut [f32], partial: &mut [f32]) => backward_body
);

/// `(y, stats)`, stats `[rows, 2]` with mean and 1/√(variance + eps) of each row.
pub(super) fn forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    eps: f64,
) -> (FlexTensor, FlexTensor) {
    let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
    let shape = x.layout().shape().clone();
    let (x, weight, bias) = (
        x.storage::<f32>(),
        weight.storage::<f32>(),
        bias.storage::<f32>(),
    );
    let width = weight.len();
    let rows = x.len() / width.max(1);
    let (mut y, mut stats) = (fresh(x.len()), fresh(2 * rows));
    blocks(
        x.len(),
        [&mut y, &mut stats],
        [ROWS * width, ROWS * 2],
        |block, [y, stats]| {
            forward_rows(
                &x[block * ROWS * width..][..y.len()],
                weight,
                bias,
                eps as f32,
                y,
                stats,
            );
        },
    );
    (tensor(y, shape), tensor(stats, [rows, 2]))
}

/// `(dx, dweight, dbias)`; changes `dy` in place when this is its only handle.
pub(super) fn backward(
    x: FlexTensor,
    stats: FlexTensor,
    weight: FlexTensor,
    dy: FlexTensor,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let (x, weight, mut dy) = (contiguous(x), contiguous(weight), contiguous(dy));
    let (x, stats, weight) = (
        x.storage::<f32>(),
        stats.storage::<f32>(),
        weight.storage::<f32>(),
    );
    let width = weight.len();
    let rows = x.len() / width.max(1);
    let mut partial = fresh(rows.div_ceil(ROWS) * 2 * width);
    blocks(
        x.len(),
        [dy.storage_mut::<f32>(), &mut partial],
        [ROWS * width, 2 * width],
        |block, [gradient, partial]| {
            let first = block * ROWS;
            backward_rows(
                &x[first * width..][..gradient.len()],
                &stats[first * 2..],
                weight,
                gradient,
                partial,
            );
        },
    );
    let mut sums = vec![0.0; 2 * width];
    for partial in partial.chunks_exact((2 * width).max(1)) {
        for (sum, value) in sums.iter_mut().zip(partial) {
            *sum += value;
        }
    }
    let dbias = sums.split_off(width);
    (dy, tensor(sums, [width]), tensor(dbias, [width]))
}
