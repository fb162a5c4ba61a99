//! One token of linear attention on the CPU: one pass over the sums, in place where nobody else holds them, else from the old ones
//! into new ones.

use burn_flex::FlexTensor;

use super::super::EPS;
use super::super::cpu::{add_row, dot, features};
use crate::cpu::{blocks, contiguous, fresh, multiply_add, tensor, wide};

/// `(y, kv, z)`.
pub(super) fn step(
    inputs: [FlexTensor; 3],
    kv: FlexTensor,
    z: FlexTensor,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let [query, key, value] = inputs.map(contiguous);
    let (mut kv, mut z) = (contiguous(kv), contiguous(z));
    let held = (!kv.is_unique()).then(|| kv.clone());
    if let Some(held) = &held {
        kv = tensor(
            fresh(held.storage::<f32>().len()),
            held.layout().shape().clone(),
        );
    }
    let before = held.as_ref().map(|held| held.storage::<f32>());
    let shape = query.layout().shape().clone();
    let width = shape[2];
    let [q, k, v] = [&query, &key, &value].map(|tensor| tensor.storage::<f32>());
    let mut y = fresh(q.len());
    let (sums, norms) = (kv.storage_mut::<f32>(), z.storage_mut::<f32>());
    // A quarter: each value is read and written once, which is soon done.
    blocks(
        sums.len() / 4,
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
            let area = head * kv.len()..(head + 1) * kv.len();
            match before {
                Some(before) => take_into(&before[area], kv, [query, key, &v[row]], y),
                None => take_in(kv, [query, key, &v[row]], y),
            }
            y.iter_mut().for_each(|value| *value *= factor);
        },
    );
    (tensor(y, shape), kv, z)
}

#[inline(always)]
fn take_in_body<const FMA: bool>(kv: &mut [f32], [query, key, value]: [&[f32]; 3], y: &mut [f32]) {
    y.fill(0.0);
    for ((sums, &query), &key) in kv.chunks_exact_mut(value.len()).zip(query).zip(key) {
        for ((sum, y), &value) in sums.iter_mut().zip(&mut *y).zip(value) {
            *sum = multiply_add::<FMA>(key, value, *sum);
            *y = multiply_add::<FMA>(query, *sum, *y);
        }
    }
}

#[inline(always)]
fn take_into_body<const FMA: bool>(
    before: &[f32],
    kv: &mut [f32],
    [query, key, value]: [&[f32]; 3],
    y: &mut [f32],
) {
    y.fill(0.0);
    let rows = before.chunks_exact(value.len());
    let rows = rows.zip(kv.chunks_exact_mut(value.len()));
    for (((before, sums), &query), &key) in rows.zip(query).zip(key) {
        let columns = before.iter().zip(sums).zip(&mut *y).zip(value);
        for (((before, sum), y), &value) in columns {
            *sum = multiply_add::<FMA>(key, value, *before);
            *y = multiply_add::<FMA>(query, *sum, *y);
        }
    }
}

wide! {
    /// [`take_in`] with the sums so far in `before`.
    fn take_into(before: &[f32], kv: &mut [f32], given: [&[f32]; 3], y: &mut [f32]) => take_into_body
}

wide! {
    /// `kv += key valueᵀ`, then `y = queryᵀ kv`, for one head: query and key are features, kv is `[P, P]`.
    fn take_in(kv: &mut [f32], given: [&[f32]; 3], y: &mut [f32]) => take_in_body
}
