//! The projection to slots on the CPU: matrix products over the real positions of each sample.

use std::ops::Range;

use burn_flex::FlexTensor;

use crate::Lengths;
use crate::cpu::{contiguous, tensor};
use crate::product::{Matrix, Shared, tasks};

/// Columns (of heads times width) or rows of a task.
const PART: usize = 128;
/// Below this many products of two numbers one core is faster than waking the others.
const PARALLEL_PRODUCTS: usize = 64 * 1024;

/// `1 / √n` and `n` of a sample; 0 positions count as 1 in the root, so that their scale is finite.
fn real(lengths: &Lengths, b: usize, len: usize) -> (usize, f32) {
    let n = (lengths.as_slice()[b] as usize).min(len);
    (n, 1.0 / (n.max(1) as f32).sqrt())
}

/// The part `part` of `count` values.
fn range(part: usize, count: usize) -> Range<usize> {
    part * PART..count.min((part + 1) * PART)
}

/// `[B, k, H, P]` from `input` `[B, L, H, P]` and `projection` `[max_len, k]`.
pub(super) fn forward(input: FlexTensor, projection: FlexTensor, lengths: &Lengths) -> FlexTensor {
    let (input, projection) = (contiguous(input), contiguous(projection));
    let shape = input.layout().shape();
    let (batch, len, heads, width) = (shape[0], shape[1], shape[2], shape[3]);
    let (channels, slots) = (heads * width, projection.layout().shape()[1]);
    let (x, e) = (input.storage::<f32>(), projection.storage::<f32>());
    let mut out = vec![0.0; batch * slots * channels];
    let shared = Shared::new(&mut out);
    let parts = channels.div_ceil(PART);
    let parallel = batch * len * slots * channels > PARALLEL_PRODUCTS;
    tasks(
        batch * parts,
        parallel,
        || (),
        |(), task| {
            let (b, columns) = (task / parts, range(task % parts, channels));
            let (n, scale) = real(lengths, b, len);
            let x = Matrix::new(
                x,
                b * len * channels + columns.start,
                [n, columns.len()],
                [channels as isize, 1],
            );
            let e = Matrix::new(e, 0, [n, slots], [slots as isize, 1]);
            // SAFETY: a task alone writes its columns of its sample.
            let mut out = unsafe {
                shared.matrix(
                    b * slots * channels + columns.start,
                    [slots, columns.len()],
                    channels,
                )
            };
            out.set_product(e.transposed(), x, scale, false);
        },
    );
    tensor(out, [batch, slots, heads, width])
}

/// `[B, len, H, P]` from `projection` `[max_len, k]` and the gradient `[B, k, H, P]` of the result.
pub(super) fn dinput(
    projection: FlexTensor,
    gradient: FlexTensor,
    len: usize,
    lengths: &Lengths,
) -> FlexTensor {
    let (gradient, projection) = (contiguous(gradient), contiguous(projection));
    let shape = gradient.layout().shape();
    let (batch, slots, heads, width) = (shape[0], shape[1], shape[2], shape[3]);
    let channels = heads * width;
    let (g, e) = (gradient.storage::<f32>(), projection.storage::<f32>());
    // Zeros, because padded rows are never written.
    let mut out = vec![0.0; batch * len * channels];
    let shared = Shared::new(&mut out);
    let parts = channels.div_ceil(PART);
    let parallel = batch * len * slots * channels > PARALLEL_PRODUCTS;
    tasks(
        batch * parts,
        parallel,
        || (),
        |(), task| {
            let (b, columns) = (task / parts, range(task % parts, channels));
            let (n, scale) = real(lengths, b, len);
            let g = Matrix::new(
                g,
                b * slots * channels + columns.start,
                [slots, columns.len()],
                [channels as isize, 1],
            );
            let e = Matrix::new(e, 0, [n, slots], [slots as isize, 1]);
            // SAFETY: a task alone writes its columns of its sample.
            let mut out = unsafe {
                shared.matrix(
                    b * len * channels + columns.start,
                    [n, columns.len()],
                    channels,
                )
            };
            out.set_product(e, g, scale, false);
        },
    );
    tensor(out, [batch, len, heads, width])
}

/// `[max_len, k]` from `input` `[B, L, H, P]` and the gradient `[B, k, H, P]` of the result, summed over the samples.
pub(super) fn dprojection(
    input: FlexTensor,
    gradient: FlexTensor,
    max_len: usize,
    lengths: &Lengths,
) -> FlexTensor {
    let (input, gradient) = (contiguous(input), contiguous(gradient));
    let shape = input.layout().shape();
    let (batch, len, channels) = (shape[0], shape[1], shape[2] * shape[3]);
    let slots = gradient.layout().shape()[1];
    let (x, g) = (input.storage::<f32>(), gradient.storage::<f32>());
    // Zeros, because rows past the longest sample are never written.
    let mut out = vec![0.0; max_len * slots];
    let shared = Shared::new(&mut out);
    let longest = lengths.max().min(len);
    let (row_parts, slot_parts) = (longest.div_ceil(PART), slots.div_ceil(PART));
    let parallel = batch * len * slots * channels > PARALLEL_PRODUCTS;
    tasks(
        row_parts * slot_parts,
        parallel,
        || (),
        |(), task| {
            let (rows, columns) = (
                range(task / slot_parts, longest),
                range(task % slot_parts, slots),
            );
            for b in 0..batch {
                let (n, scale) = real(lengths, b, len);
                let count = n.min(rows.end).saturating_sub(rows.start);
                if count == 0 {
                    continue;
                }
                let stride = [channels as isize, 1];
                let x = Matrix::new(
                    x,
                    (b * len + rows.start) * channels,
                    [count, channels],
                    stride,
                );
                let g = Matrix::new(
                    g,
                    (b * slots + columns.start) * channels,
                    [columns.len(), channels],
                    stride,
                );
                // SAFETY: a task alone writes its rows and columns, sample after sample.
                let mut out = unsafe {
                    shared.matrix(
                        rows.start * slots + columns.start,
                        [count, columns.len()],
                        slots,
                    )
                };
                out.set_product(x, g.transposed(), scale, true);
            }
        },
    );
    tensor(out, [max_len, slots])
}
