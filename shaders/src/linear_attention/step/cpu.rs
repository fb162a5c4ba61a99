//! One token of linear attention on the CPU: one pass over the sums, in place where nobody else holds them.

use burn_flex::FlexTensor;

use super::super::EPS;
use super::super::cpu::{add_row, dot, features};
use crate::cpu::{blocks, contiguous, fresh, tensor};

/// `(y, kv, z)`.
pub(super) fn step(
    inputs: [FlexTensor; 3],
    kv: FlexTensor,
    z: FlexTensor,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let [query, key, value] = inputs.map(contiguous);
    let (mut kv, mut z) = (contiguous(kv), contiguous(z));
    let shape = query.layout().shape().clone();
    let width = shape[2];
    let [q, k, v] = [&query, &key, &value].map(|tensor| tensor.storage::<f32>());
    let mut y = fresh(q.len());
    let (sums, norms) = (kv.storage_mut::<f32>(), z.storage_mut::<f32>());
    blocks(
        sums.len(),
        [&mut y, sums, norms],
        [width, width * width, width],
        |head, [y, kv, z]| {
            let row = head * width..(head + 1) * width;
            let mut mapped = vec![0.0; 2 * width];
            let (query, key) = mapped.split_at_mut(width);
            features(&q[row.clone()], width, width, query);
            features(&k[row.clone()], width, width, key);
            add_row(z, key, 1.0);
            let factor = 1.0 / (dot(query, z) + EPS as f32);
            y.fill(0.0);
            for (p, sums) in kv.chunks_exact_mut(width).enumerate() {
                add_row(sums, &v[row.clone()], key[p]);
                add_row(y, sums, query[p]);
            }
            y.iter_mut().for_each(|value| *value *= factor);
        },
    );
    (tensor(y, shape), kv, z)
}
