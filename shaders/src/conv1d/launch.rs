//! The convolution on the GPU: the tiled product of the linear layer, over windows that overlap.

use burn_cubecl::tensor::CubeTensor;

use super::Sizes;
use crate::launch::{Kernel, contiguous, empty};
use crate::linear::tiled;

/// `[N, T, D]`.
pub(super) fn forward(
    x: CubeTensor,
    weight: CubeTensor,
    bias: Option<CubeTensor>,
    stride: usize,
) -> CubeTensor {
    let (x, weight, bias) = (contiguous(x), contiguous(weight), bias.map(contiguous));
    let sizes = Sizes::of(x.meta.shape(), weight.meta.shape(), stride);
    let (frames, out, depth) = (sizes.frames(), sizes.out, sizes.depth);
    let y = empty(&x, [sizes.samples, frames, out]);
    let kernel = Kernel::new("windowed product", tiled::WGSL, tiled::THREADS)
        .set(
            "a_index",
            "matrix * info[4] + row * info[5] + depth", // windows overlap
        )
        .set(
            "b_index",
            "(matrix % info[6] * size.z + depth) * size.y + column",
        )
        .set("matrices", "info[3]");
    let kernel = tiled::order(kernel, false, false);
    let info = [
        frames,
        out,
        depth,
        sizes.samples,
        sizes.len * sizes.channels,
        stride * sizes.channels,
        sizes.groups,
    ]
    .map(|size| size as u32);
    let groups = sizes.samples * tiled::groups(frames, out);
    let added = "bias[matrix % info[6] * size.y + column + j]";
    tiled::launch(
        kernel,
        [&x, &weight, &y],
        bias.as_ref(),
        added,
        &info,
        groups,
    );
    y
}

/// `[G, W C, D]`: the windows of all samples of a group one below the other.
pub(super) fn weight_gradient(
    x: CubeTensor,
    dy: CubeTensor,
    groups: usize,
    depth: usize,
    stride: usize,
) -> CubeTensor {
    let (x, dy) = (contiguous(x), contiguous(dy));
    let shape = x.meta.shape();
    let (samples, len, channels) = (shape[0], shape[1], shape[2]);
    let shape = dy.meta.shape();
    let (frames, out) = (shape[1], shape[2]);
    let dweight = empty(&x, [groups, depth, out]);
    let sample = "(depth / info[6] * info[3] + matrix)";
    let kernel = Kernel::new("windowed product, weights", tiled::WGSL, tiled::THREADS)
        .set(
            "a_index",
            format!("{sample} * info[4] + depth % info[6] * info[5] + row"),
        )
        .set(
            "b_index",
            format!("({sample} * info[6] + depth % info[6]) * size.y + column"),
        )
        .set("matrices", "info[3]");
    let kernel = tiled::order(kernel, true, false);
    let info = [
        depth,
        out,
        samples / groups * frames,
        groups,
        len * channels,
        stride * channels,
        frames,
    ]
    .map(|size| size as u32);
    let count = groups * tiled::groups(depth, out);
    tiled::launch(kernel, [&x, &dy, &dweight], None, "", &info, count);
    dweight
}
