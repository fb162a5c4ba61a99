//! The convolution on the CPU: a product a block of windows, in place on the overlapping rows.

use burn_flex::FlexTensor;

use super::Sizes;
use crate::cpu::{contiguous, fresh, tensor};
use crate::product::{Matrix, Shared, tasks};

/// Multiplications below which a second core does not pay.
const PARALLEL_PRODUCT: usize = 1 << 20;
/// Windows, or rows of the weight's gradient, of one task.
const BLOCK: usize = 256;

/// `[N, T, D]`.
pub(super) fn forward(
    x: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    stride: usize,
) -> FlexTensor {
    let (x, weight, bias) = (contiguous(x), contiguous(weight), bias.map(contiguous));
    let sizes = Sizes::of(x.layout().shape(), weight.layout().shape(), stride);
    let Sizes {
        samples,
        len,
        channels,
        groups,
        depth,
        out,
        ..
    } = sizes;
    let (frames, step) = (sizes.frames(), stride * channels);
    let (x, weight) = (x.storage::<f32>(), weight.storage::<f32>());
    let bias = bias.as_ref().map(|bias| bias.storage::<f32>());
    let mut y = fresh(samples * frames * out);
    let shared = Shared::new(&mut y);
    let blocks = frames.div_ceil(BLOCK);
    tasks(
        samples * blocks,
        samples * frames * out * depth >= PARALLEL_PRODUCT,
        || (),
        |(), task| {
            let (n, first) = (task / blocks, task % blocks * BLOCK);
            let (rows, group) = (BLOCK.min(frames - first), n % groups);
            // SAFETY: the parts of different tasks do not overlap.
            let mut part = unsafe { shared.matrix((n * frames + first) * out, [rows, out], out) };
            if let Some(bias) = bias {
                // The product adds to it while it writes.
                let bias = &bias[group * out..(group + 1) * out];
                (0..rows).for_each(|row| part.row(row).copy_from_slice(bias));
            }
            let windows = n * len * channels + first * step;
            part.set_product(
                Matrix::new(x, windows, [rows, depth], [step as isize, 1]),
                Matrix::new(weight, group * depth * out, [depth, out], [out as isize, 1]),
                1.0,
                bias.is_some(),
            );
        },
    );
    tensor(y, [samples, frames, out])
}

/// `[G, W C, D]`.
pub(super) fn weight_gradient(
    x: FlexTensor,
    dy: FlexTensor,
    groups: usize,
    depth: usize,
    stride: usize,
) -> FlexTensor {
    let (x, dy) = (contiguous(x), contiguous(dy));
    let shape = x.layout().shape();
    let (samples, len, channels) = (shape[0], shape[1], shape[2]);
    let shape = dy.layout().shape();
    let (frames, out) = (shape[1], shape[2]);
    let step = (stride * channels) as isize;
    let (x, dy) = (x.storage::<f32>(), dy.storage::<f32>());
    let mut dweight = fresh(groups * depth * out);
    let shared = Shared::new(&mut dweight);
    let blocks = depth.div_ceil(BLOCK);
    tasks(
        groups * blocks,
        samples * frames * out * depth >= PARALLEL_PRODUCT,
        || (),
        |(), task| {
            let (group, first) = (task / blocks, task % blocks * BLOCK);
            let rows = BLOCK.min(depth - first);
            // SAFETY: the parts of different tasks do not overlap.
            let mut part =
                unsafe { shared.matrix((group * depth + first) * out, [rows, out], out) };
            for n in (group..samples).step_by(groups) {
                let windows = n * len * channels + first;
                part.set_product(
                    Matrix::new(x, windows, [rows, frames], [1, step]),
                    Matrix::new(dy, n * frames * out, [frames, out], [out as isize, 1]),
                    1.0,
                    n != group,
                );
            }
        },
    );
    tensor(dweight, [groups, depth, out])
}
