//! The rotation on the GPU: one kernel for both directions.

use burn::backend::ops::FloatTensorOps;
use burn::tensor::{Shape, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use crate::launch::{Kernel, contiguous, empty};

const THREADS: u32 = 256;

/// Query, key and value, `[B, L, H, P]` each.
pub(super) fn take_apart(packed: CubeTensor, cos: CubeTensor, sin: CubeTensor) -> [CubeTensor; 3] {
    let shape = packed.meta.shape();
    let [batch, len, heads, width] = [shape[0], shape[1], shape[2], shape[3] / 3];
    let parts = launch(
        packed,
        [cos, sin],
        [3, batch, len, heads, width].into(),
        [len, heads, width],
        true,
    );
    [0, 1, 2].map(|part| {
        let part = CubeBackend::float_slice(parts.clone(), &[Slice::from(part..part + 1)]);
        CubeBackend::float_reshape(part, [batch, len, heads, width].into())
    })
}

/// `[B, L, H, 3 P]`.
pub(super) fn put_together(parts: [CubeTensor; 3], cos: CubeTensor, sin: CubeTensor) -> CubeTensor {
    let shape = parts[0].meta.shape();
    let [batch, len, heads, width] = [shape[0], shape[1], shape[2], shape[3]];
    let parts = CubeBackend::float_cat(parts.into(), 0);
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
