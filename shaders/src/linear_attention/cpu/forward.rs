//! The forward pass on the CPU.

use burn_flex::FlexTensor;

use super::{Scratch, Sizes, add_row, block_rows, blocks, dot, features, sum, whole, whole_mut};
use crate::Lengths;
use crate::cpu::{contiguous, fresh, tensor};
use crate::linear_attention::{EPS, Forward};
use crate::product::{Shared, tasks};

/// y, kv, z, normalisers.
pub(in crate::linear_attention) fn forward(
    inputs: [FlexTensor; 3],
    lengths: &Lengths,
    causal: bool,
) -> Forward<FlexTensor> {
    let [query, key, value] = inputs.map(contiguous);
    let sizes = Sizes::of(&query);
    let Sizes {
        batch,
        len,
        heads,
        width,
    } = sizes;
    let stride = sizes.stride();
    let (q, k, v) = (
        query.storage::<f32>(),
        key.storage::<f32>(),
        value.storage::<f32>(),
    );
    let mut y = fresh(q.len());
    // Zeros, because those of padded rows are never written.
    let mut normaliser = vec![0.0; batch * len * heads];
    let mut kv = vec![0.0; batch * heads * width * width];
    let mut z = vec![0.0; batch * heads * width];
    let shared = [&mut y, &mut normaliser, &mut kv, &mut z].map(|values| Shared::new(values));
    // The sums of a head, [P, P] and [1, P]; no two of one head may be in use at once.
    let sums = |task: usize| unsafe {
        // SAFETY: as just said, which its callers keep.
        (
            shared[2].matrix(task * width * width, [width, width], width),
            shared[3].matrix(task * width, [1, width], width),
        )
    };
    let take = |scratch: &mut Scratch, task: usize, block| {
        let rows = block_rows(block);
        let key = &mut scratch.key[..rows * width];
        features(&k[sizes.at(task, block[0])..], stride, width, key);
        let (mut kv, mut z) = sums(task);
        let values = sizes.rows(v, task, block);
        kv.set_product(whole(key, rows, width).transposed(), values, 1.0, true);
        key.chunks_exact(width)
            .for_each(|row| add_row(z.row(0), row, 1.0));
    };
    let give = |scratch: &mut Scratch, task: usize, block| {
        let (rows, start) = (block_rows(block), sizes.at(task, block[0]));
        let used = rows * width;
        features(&q[start..], stride, width, &mut scratch.query[..used]);
        let (kv, mut z) = sums(task);
        // SAFETY: a task alone uses its heads.
        let (mut y, mut normaliser) = unsafe {
            (
                sizes.rows_mut(&shared[0], task, block),
                shared[1].matrix(start / width, [rows, 1], heads),
            )
        };
        y.set_product(whole(&scratch.query, rows, width), kv.read(), 1.0, false);
        for (row, query) in scratch.query[..used].chunks_exact(width).enumerate() {
            normaliser.row(row)[0] = dot(query, z.row(0)) + EPS as f32;
        }
        if causal {
            // What the block's own keys add; they join the sums when it is done.
            features(&k[start..], stride, width, &mut scratch.key[..used]);
            whole_mut(&mut scratch.weights, rows, rows).set_product(
                whole(&scratch.query, rows, width),
                whole(&scratch.key, rows, width).transposed(),
                1.0,
                false,
            );
            for row in 0..rows {
                let line = &mut scratch.weights[row * rows..(row + 1) * rows];
                let (seen, unseen) = line.split_at_mut(row + 1);
                normaliser.row(row)[0] += sum(seen);
                unseen.fill(0.0);
            }
            let values = sizes.rows(v, task, block);
            y.set_product(whole(&scratch.weights, rows, rows), values, 1.0, true);
        }
        for row in 0..rows {
            let factor = 1.0 / normaliser.row(row)[0];
            y.row(row).iter_mut().for_each(|value| *value *= factor);
        }
    };
    tasks(
        sizes.groups(),
        sizes.parallel(),
        || Scratch::new(width),
        |scratch, group| {
            let group = sizes.heads_of(group);
            let n = sizes.real(lengths, group.start);
            for task in group.clone() {
                // SAFETY: as above.
                unsafe { sizes.clear_padding(&shared[0], task, n) };
            }
            if !causal {
                for block in blocks(n) {
                    group.clone().for_each(|task| take(scratch, task, block));
                }
            }
            for block in blocks(n) {
                for task in group.clone() {
                    give(scratch, task, block);
                    if causal {
                        take(scratch, task, block);
                    }
                }
            }
        },
    );
    Forward {
        y: tensor(y, [batch, len, heads, width]),
        kv: tensor(kv, [batch, heads, width, width]),
        z: tensor(z, [batch, heads, width]),
        normaliser: tensor(normaliser, [batch, len, heads]),
        states: None,
    }
}
