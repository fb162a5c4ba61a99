//! The convolution on the GPU: the tiled product of the linear layer, over windows that overlap.

use burn_cubecl::tensor::CubeTensor;

use super::Sizes;
use crate::launch::{contiguous, empty};
use crate::linear::tiled::{Along, Layout, Tile, Tiled};
use crate::sixteen_bit::Stored;

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
    let bias = bias
        .as_ref()
        .map(|bias| (bias, "matrix % info[6] * size.y + column"));
    Tiled {
        name: "windowed product",
        tile: Tile::select(&y, sizes.samples, frames, out),
        a: Layout {
            index: "matrix * info[4] + row * info[5] + depth".to_string(), // windows overlap
            along: Along::Depth,
            fours: fours([depth, sizes.len * sizes.channels, stride * sizes.channels]),
            stored: Stored::F32,
        },
        b: Layout {
            index: "(matrix % info[6] * size.z + depth) * size.y + column".to_string(),
            along: Along::Rows,
            fours: fours([out]),
            stored: Stored::F32,
        },
        matrices: ("info[3]", sizes.samples),
    }
    .launch([&x, &weight, &y], bias, &info);
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
    Tiled {
        name: "windowed product, weights",
        tile: Tile::select(&dweight, groups, depth, out),
        a: Layout {
            index: format!("{sample} * info[4] + depth % info[6] * info[5] + row"),
            along: Along::Rows,
            fours: fours([depth, len * channels, stride * channels]),
            stored: Stored::F32,
        },
        b: Layout {
            index: format!("({sample} * info[6] + depth % info[6]) * size.y + column"),
            along: Along::Rows,
            fours: fours([out]),
            stored: Stored::F32,
        },
        matrices: ("info[3]", groups),
    }
    .launch([&x, &dy, &dweight], None, &info);
    dweight
}

/// Whether four neighbours always are a vector: every distance is a multiple of four.
fn fours<const N: usize>(distances: [usize; N]) -> bool {
    distances.iter().all(|distance| distance.is_multiple_of(4))
}
