//! Launches one token of linear attention.

use burn_cubecl::tensor::CubeTensor;

use crate::launch::{Kernel, contiguous, empty};

const THREADS: usize = 256;
/// Columns of a workgroup; the other factor of its invocations shares out the rows.
const COLUMNS: usize = 64;

/// `(y, kv, z)`.
pub(super) fn step(
    inputs: [CubeTensor; 3],
    kv: CubeTensor,
    z: CubeTensor,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let [query, key, value] = inputs.map(contiguous);
    let (kv, z) = (contiguous(kv), contiguous(z));
    // In place where nobody else holds the sums; with a second buffer for them there would be nine bindings.
    let kv = if kv.can_mut() { kv } else { kv.copy() };
    let shape = query.meta.shape().clone();
    let (heads, width) = (shape[0] * shape[1], shape[2]);
    let tiles = width.div_ceil(COLUMNS);
    let y = empty(&query, shape.clone());
    // Every tile of columns reads the old one, so it is not changed in place.
    let new_z = empty(&query, shape);
    let template = include_str!("step.wgsl");
    Kernel::new("linear attention step", template, THREADS as u32)
        .set("width", width)
        .set("columns", COLUMNS)
        .workgroup_memory(4 * (2 * width + 2 * THREADS))
        .launch(
            &[&query, &key, &value, &kv, &z, &new_z, &y],
            &[(heads * tiles) as u32, tiles as u32],
            heads * tiles,
        );
    (y, kv, new_z)
}
