//! The rotation on the GPU: one kernel for both directions.

use burn_cubecl::tensor::CubeTensor;

use crate::launch::{Kernel, contiguous, empty};

const THREADS: u32 = 256;

/// Query, key and value, `[B, L, H, P]` each.
pub(super) fn take_apart(packed: CubeTensor, cos: CubeTensor, sin: CubeTensor) -> [CubeTensor; 3] {
    let packed = contiguous(packed);
    let shape = packed.meta.shape();
    let sizes = [shape[0], shape[1], shape[2], shape[3] / 3];
    let parts = [(); 3].map(|()| empty(&packed, sizes));
    launch(&packed, &parts, [cos, sin], sizes, true);
    parts
}

/// `[B, L, H, 3 P]`.
pub(super) fn put_together(parts: [CubeTensor; 3], cos: CubeTensor, sin: CubeTensor) -> CubeTensor {
    let parts = parts.map(contiguous);
    let shape = parts[0].meta.shape();
    let sizes = [shape[0], shape[1], shape[2], shape[3]];
    let packed = empty(&parts[0], [sizes[0], sizes[1], sizes[2], 3 * sizes[3]]);
    launch(&packed, &parts, [cos, sin], sizes, false);
    packed
}

fn launch(
    packed: &CubeTensor,
    [query, key, value]: &[CubeTensor; 3],
    tables: [CubeTensor; 2],
    [batch, len, heads, width]: [usize; 4],
    apart: bool,
) {
    let [cos, sin] = tables.map(contiguous);
    let half = cos.meta.shape()[1];
    let four = width.is_multiple_of(4) && half.is_multiple_of(4);
    let (element, size) = if four { ("vec4<f32>", 4) } else { ("f32", 1) };
    let (width, half) = (width / size, half / size);
    let invocations = batch * len * heads * (width - half);
    Kernel::new("rotary", include_str!("rotary.wgsl"), THREADS)
        .set("element", element)
        .set("apart", u8::from(apart))
        .set("together", u8::from(!apart))
        .set("sign", if apart { "1.0" } else { "-1.0" })
        .launch(
            &[packed, query, key, value, &cos, &sin],
            &[invocations, len, heads, width, half].map(|size| size as u32),
            invocations.div_ceil(THREADS as usize),
        );
}
