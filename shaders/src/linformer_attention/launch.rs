//! Launches the projection to slots: three products by one template.

use burn::tensor::Shape;
use burn_cubecl::tensor::CubeTensor;

use crate::Lengths;
use crate::block_product::{self, Along, BlockProduct};
use crate::column_sum;
use crate::launch::{Kernel, contiguous, empty};

/// Rows and columns of a workgroup's results.
const TILE: usize = 2 * block_product::TILE;
/// Terms of the gradient of a projection that one workgroup adds up: lavapipe leaves a shader's loops, without a word, after 65,535
/// turns of all of them together, and hardware has the parts side by side.
const PART: usize = 16 * 1024;
/// Bytes of a plan.
const PLAN: usize = 44;
const WGSL: &str = concat!(
    include_str!("projection.wgsl"),
    include_str!("../block_product/product.wgsl")
);

/// Sizes of a projection.
struct Sizes<'a> {
    batch: usize,
    len: usize,
    slots: usize,
    channels: usize,
    max_len: usize,
    lengths: &'a Lengths,
}

impl Sizes<'_> {
    /// Launches `samples` products of `rows` x `columns` results.
    fn launch(
        &self,
        kernel: Kernel,
        buffers: [&CubeTensor; 3],
        samples: usize,
        rows: usize,
        columns: usize,
    ) {
        let (down, right) = (rows.div_ceil(TILE), columns.div_ceil(TILE));
        let groups = samples * down * right;
        let mut info: Vec<u32> = [
            self.batch,
            self.len,
            self.slots,
            self.channels,
            self.max_len,
            groups,
            down,
            right,
        ]
        .map(|size| size as u32)
        .to_vec();
        info.extend_from_slice(self.lengths.as_slice());
        kernel.launch(&buffers, &info, groups);
    }
}

fn kernel(name: &'static str, along: [Along; 2]) -> Kernel {
    BlockProduct::square(along).kernel(name, WGSL, PLAN)
}

/// `[B, k, H, P]` from `input` `[B, L, H, P]` and `projection` `[max_len, k]`.
pub(super) fn forward(input: CubeTensor, projection: CubeTensor, lengths: &Lengths) -> CubeTensor {
    let (input, projection) = (contiguous(input), contiguous(projection));
    let [batch, len, heads, width] = dims(&input);
    let [max_len, slots] = dims(&projection);
    let channels = heads * width;
    let out = empty(&input, [batch, slots, heads, width]);
    let kernel = kernel("linformer projection", [Along::Results; 2])
        .set("shape_a", "E [max_len, k]")
        .set("shape_b", "X [B, L, H * P]")
        .set("shape_result", "[B, k, H * P]")
        .set("length", "min(info[LENGTHS + sample], len)")
        .set("terms", "n")
        .set("rows", "slots")
        .set("columns", "channels")
        .set("left", "a[term * size.slots + row]")
        .set("left_rows", "size.rows")
        .set("last_row", "size.rows - 1u")
        .set(
            "right_index",
            "(size.sample * size.len + term) * size.channels + column",
        )
        .set(
            "result_index",
            "(size.sample * size.slots + row) * size.channels + column + lane",
        )
        .set("factor", "root(size.n)");
    let sizes = Sizes {
        batch,
        len,
        slots,
        channels,
        max_len,
        lengths,
    };
    sizes.launch(kernel, [&projection, &input, &out], batch, slots, channels);
    out
}

/// `[B, len, H, P]` from `projection` `[max_len, k]` and the gradient `[B, k, H, P]` of the result.
pub(super) fn dinput(
    projection: CubeTensor,
    gradient: CubeTensor,
    len: usize,
    lengths: &Lengths,
) -> CubeTensor {
    let (projection, gradient) = (contiguous(projection), contiguous(gradient));
    let [batch, slots, heads, width] = dims(&gradient);
    let [max_len, _] = dims(&projection);
    let channels = heads * width;
    let out = empty(&gradient, [batch, len, heads, width]);
    let kernel = kernel(
        "linformer gradient of the input",
        [Along::Terms, Along::Results],
    )
    .set("shape_a", "E [max_len, k]")
    .set("shape_b", "gradient [B, k, H * P]")
    .set("shape_result", "[B, L, H * P]")
    .set("length", "min(info[LENGTHS + sample], len)")
    // Tiles of padding alone sum nothing and write zeros.
    .set("terms", "select(0u, slots, row0 < n)")
    .set("rows", "len")
    .set("columns", "channels")
    .set("left", "a[row * size.slots + term]")
    .set("left_rows", "size.n")
    .set("last_row", "size.n - 1u")
    .set(
        "right_index",
        "(size.sample * size.slots + term) * size.channels + column",
    )
    .set(
        "result_index",
        "(size.sample * size.len + row) * size.channels + column + lane",
    )
    .set("factor", "root(size.n)");
    let sizes = Sizes {
        batch,
        len,
        slots,
        channels,
        max_len,
        lengths,
    };
    sizes.launch(kernel, [&projection, &gradient, &out], batch, len, channels);
    out
}

/// `[max_len, k]` from `input` `[B, L, H, P]` and the gradient `[B, k, H, P]` of the result, summed over the samples.
pub(super) fn dprojection(
    input: CubeTensor,
    gradient: CubeTensor,
    max_len: usize,
    lengths: &Lengths,
) -> CubeTensor {
    let (input, gradient) = (contiguous(input), contiguous(gradient));
    let [batch, len, heads, width] = dims(&input);
    let slots = gradient.meta.shape()[1];
    let channels = heads * width;
    let parts = (batch * channels).div_ceil(PART).max(1);
    let out = empty(&input, [parts, max_len * slots]);
    // One sum over samples and channels: term t is channel t % channels of sample t / channels. A "sample" of the plan is a part of it.
    let term = format!("(term + size.sample * {PART}u)");
    let kernel = kernel("linformer gradient of the projection", [Along::Terms; 2])
        .set("shape_a", "X [B, L, H * P]")
        .set("shape_b", "gradient [B, k, H * P]")
        .set("shape_result", "[parts, max_len, k]")
        .set("length", "len")
        .set(
            "terms",
            format!("select(0u, min(info[0] * channels - sample * {PART}u, {PART}u), row0 < n)"),
        )
        .set("rows", "max_len")
        .set("columns", "slots")
        .set(
            "left",
            format!("of_sample(row, {term} / size.channels, {term} % size.channels, size)"),
        )
        .set("left_rows", "size.n")
        .set("last_row", "size.n - 1u")
        .set(
            "right_index",
            format!("({term} / size.channels * size.slots + column) * size.channels + {term} % size.channels"),
        )
        .set(
            "result_index",
            "(size.sample * size.rows + row) * size.slots + column + lane",
        )
        .set("factor", "1.0");
    let sizes = Sizes {
        batch,
        len,
        slots,
        channels,
        max_len,
        lengths,
    };
    sizes.launch(kernel, [&input, &gradient, &out], parts, max_len, slots);
    let sum = if parts == 1 {
        out
    } else {
        column_sum::launch(out)
    };
    let shape = Shape::new([max_len, slots]);
    CubeTensor::new_contiguous(sum.client, sum.device, shape, sum.handle, sum.dtype)
}

fn dims<const D: usize>(tensor: &CubeTensor) -> [usize; D] {
    std::array::from_fn(|dimension| tensor.meta.shape()[dimension])
}
