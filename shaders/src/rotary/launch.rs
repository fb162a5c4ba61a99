//! The rotation on the GPU: one kernel for both directions.

use burn::tensor::Shape;
use burn_cubecl::tensor::CubeTensor;

use crate::launch::{Kernel, contiguous, empty};

const THREADS: u32 = 256;

/// `[3, B, L, H, P]`.
pub(super) fn take_apart(packed: CubeTensor, cos: CubeTensor, sin: CubeTensor) -> CubeTensor {
    let shape = packed.meta.shape();
    let [batch, len, heads, width] = [shape[0], shape[1], shape[2], shape[3] / 3];
    launch(
        packed,
        [cos, sin],
        [3, batch, len, heads, width].into(),
        [len, heads, width],
        true,
    )
}

/// `[B, L, H, 3 P]`.
pub(super) fn put_together(parts: CubeTensor, cos: CubeTensor, sin: CubeTensor) -> CubeTensor {
    let shape = parts.meta.shape();
    let [batch, len, heads, width] = [shape[1], shape[2], shape[3], shape[4]];
    launch(
        parts,
        [cos, sin],
        [batch, len, heads, 3 * width].into(),
        [len, heads, width],
        false,
    )
}

fn launch(
    x: CubeTensor,
    [cos, sin]: [CubeTensor; 2],
    shape: Shape,
    [len, heads, width]: [usize; 3],
    apart: bool,
) -> CubeTensor {
    let (x, cos, sin) = (contiguous(x), contiguous(cos), contiguous(sin));
    let half = cos.meta.shape()[1];
    let four = width.is_multiple_of(4) && half.is_multiple_of(4);
    let (element, size) = if four { ("vec4<f32>", 4) } else { ("f32", 1) };
    let (part, width, half) = (shape.num_elements() / 3 / size, width / size, half / size);
    let invocations = part / width * (width - half);
    let y = empty(&x, shape);
    let (from, to, sign) = match apart {
        true => ("packed", "apart", "1.0"),
        false => ("apart", "packed", "-1.0"),
    };
    Kernel::new("rotary", include_str!("rotary.wgsl"), THREADS)
        .set("element", element)
        .set("from", from)
        .set("to", to)
        .set("sign", sign)
        .launch(
            &[&x, &cos, &sin, &y],
            &[invocations, len, heads, width, half, part].map(|size| size as u32),
            invocations.div_ceil(THREADS as usize),
        );
    y
}
