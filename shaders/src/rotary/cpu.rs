//! The rotation on the CPU, a position of all heads at a time.

use burn_flex::FlexTensor;

use crate::cpu::{blocks, contiguous, fresh, tensor};

/// Values of a block, about.
const BLOCK: usize = 16 * 1024;

/// Writes `x` with its first values rotated: forwards with `sign` 1, back with -1.
fn turn(x: &[f32], y: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    let half = cos.len();
    y.copy_from_slice(x);
    let (a, b) = x[..2 * half].split_at(half);
    let (first, second) = y[..2 * half].split_at_mut(half);
    for i in 0..half {
        let sin = sign * sin[i];
        first[i] = a[i] * cos[i] - b[i] * sin;
        second[i] = b[i] * cos[i] + a[i] * sin;
    }
}

/// Query, key and value, `[B, L, H, P]` each.
pub(super) fn take_apart(packed: FlexTensor, cos: FlexTensor, sin: FlexTensor) -> [FlexTensor; 3] {
    let (packed, cos, sin) = (contiguous(packed), contiguous(cos), contiguous(sin));
    let shape = packed.layout().shape();
    let [batch, len, heads] = [shape[0], shape[1], shape[2]];
    let (width, half) = (shape[3] / 3, cos.layout().shape()[1]);
    let (packed, cos, sin) = (packed.storage(), cos.storage::<f32>(), sin.storage::<f32>());
    let packed: &[f32] = packed;
    let mut parts = [(); 3].map(|()| fresh(packed.len() / 3));
    let rows = (BLOCK / (heads * width)).max(1);
    let size = rows * heads * width;
    blocks(
        packed.len(),
        parts.each_mut().map(Vec::as_mut_slice),
        [size; 3],
        |block, parts| {
            let [query, key, value] = parts;
            for (row, at) in (0..query.len()).step_by(width).enumerate() {
                let row = block * rows * heads + row;
                let place = row / heads % len * half;
                let (cos, sin) = (&cos[place..place + half], &sin[place..place + half]);
                let x = &packed[row * 3 * width..(row + 1) * 3 * width];
                turn(&x[..width], &mut query[at..at + width], cos, sin, 1.0);
                turn(
                    &x[width..2 * width],
                    &mut key[at..at + width],
                    cos,
                    sin,
                    1.0,
                );
                value[at..at + width].copy_from_slice(&x[2 * width..]);
            }
        },
    );
    parts.map(|part| tensor(part, [batch, len, heads, width]))
}

/// `[B, L, H, 3 P]`.
pub(super) fn put_together(parts: [FlexTensor; 3], cos: FlexTensor, sin: FlexTensor) -> FlexTensor {
    let (parts, cos, sin) = (parts.map(contiguous), contiguous(cos), contiguous(sin));
    let shape = parts[0].layout().shape();
    let [batch, len, heads, width] = [shape[0], shape[1], shape[2], shape[3]];
    let half = cos.layout().shape()[1];
    let (cos, sin) = (cos.storage::<f32>(), sin.storage::<f32>());
    let [query, key, value] = parts.each_ref().map(|part| part.storage::<f32>());
    let values = 3 * query.len();
    let mut packed = fresh(values);
    let rows = (BLOCK / (heads * width)).max(1) * heads;
    blocks(
        values,
        [&mut packed],
        [rows * 3 * width],
        |block, [packed]| {
            for (row, x) in packed.chunks_exact_mut(3 * width).enumerate() {
                let row = block * rows + row;
                let (at, place) = (row * width, row / heads % len * half);
                let (cos, sin) = (&cos[place..place + half], &sin[place..place + half]);
                turn(&query[at..at + width], &mut x[..width], cos, sin, -1.0);
                turn(
                    &key[at..at + width],
                    &mut x[width..2 * width],
                    cos,
                    sin,
                    -1.0,
                );
                x[2 * width..].copy_from_slice(&value[at..at + width]);
            }
        },
    );
    tensor(packed, [batch, len, heads, 3 * width])
}
