//! Launches attention against a cache: one kernel over the parts of the cache, a second one that joins them.

use burn_cubecl::tensor::CubeTensor;

use super::super::launch::row_access;
use crate::launch::{Kernel, contiguous, empty};

const THREADS: u32 = 64;
/// Positions of a part at most: their weights lie in workgroup memory.
const MAX_PART: usize = 1024;
/// Parts that a cache is split into, as long as they stay within 64 to [`MAX_PART`] positions. Enough for a device of many
/// cores with the few heads of one sample, few enough that joining them costs nothing.
const PARTS: usize = 32;

/// `[B, H, P]`.
pub(super) fn forward(
    query: CubeTensor,
    key: CubeTensor,
    value: CubeTensor,
    filled: usize,
) -> CubeTensor {
    let [query, key, value] = [query, key, value].map(contiguous);
    let (shape, capacity) = (query.meta.shape().clone(), key.meta.shape()[1]);
    let (batch, heads, width) = (shape[0], shape[1], shape[2]);
    let (width4, whole) = (width.div_ceil(4), width.is_multiple_of(4));
    let part = filled
        .div_ceil(PARTS)
        .next_multiple_of(THREADS as usize)
        .min(MAX_PART);
    let parts = filled.div_ceil(part);
    let groups = batch * heads * parts;
    let scale = 1.0 / (width as f32).sqrt();
    let mut info = [capacity, heads, filled, part, parts, groups]
        .map(|size| size as u32)
        .to_vec();
    info.push(scale.to_bits());
    let partial = empty(&query, [batch, heads, parts, width]);
    let stats = empty(&query, [batch, heads, parts, 2]);
    Kernel::new("attention step", include_str!("split.wgsl"), THREADS)
        .set("element", if whole { "vec4<f32>" } else { "f32" })
        .set(
            "rows_of",
            row_access(&["query", "key", "value", "result"], whole),
        )
        .set("width", width)
        .set("width4", width4)
        .set("part", MAX_PART)
        .workgroup_memory(4 * MAX_PART + 20 * THREADS as usize)
        .launch(&[&query, &key, &value, &partial, &stats], &info, groups);
    if parts == 1 {
        // The only part has been divided by the whole sum.
        return CubeTensor::new_contiguous(
            partial.client,
            partial.device,
            shape,
            partial.handle,
            partial.dtype,
        );
    }
    let out = empty(&query, shape);
    let values = batch * heads * width;
    Kernel::new(
        "attention step, join",
        include_str!("combine.wgsl"),
        THREADS,
    )
    .set("width", width)
    .launch(
        &[&partial, &stats, &out],
        &[values as u32, parts as u32],
        values.div_ceil(THREADS as usize),
    );
    out
}
