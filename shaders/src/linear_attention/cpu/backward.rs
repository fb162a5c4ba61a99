//! The backward pass on the CPU.

use burn_flex::FlexTensor;

use super::{Scratch, Sizes, add_row, block_rows, blocks, dot, features, whole, whole_mut};
use crate::cpu::{contiguous, tensor};
use crate::linear_attention::Saved;
use crate::product::{Shared, tasks};

/// Multiplies gradients of φ(x) by φ′(x): 1 above 0, eˣ = φ(x) below.
fn through_features(gradient: &mut [f32], features: &[f32]) {
    for (gradient, &feature) in gradient.iter_mut().zip(features) {
        *gradient *= if feature > 1.0 { 1.0 } else { feature };
    }
}

/// What the passes over blocks in the backward pass read.
struct Reader<'a> {
    sizes: Sizes,
    inputs: [&'a [f32]; 3],
    y: &'a [f32],
    normaliser: &'a [f32],
    upstream: &'a [f32],
}

impl Reader<'_> {
    /// φ(q), φ(k), gradient over normaliser and gradient of the normaliser of a block.
    fn fill(&self, scratch: &mut Scratch, task: usize, block: [usize; 2]) {
        let Sizes { width, heads, .. } = self.sizes;
        let (rows, start) = (block_rows(block), self.sizes.at(task, block[0]));
        let (used, stride) = (rows * width, self.sizes.stride());
        let [q, k, _] = self.inputs;
        features(&q[start..], stride, width, &mut scratch.query[..used]);
        features(&k[start..], stride, width, &mut scratch.key[..used]);
        for row in 0..rows {
            let at = start + row * stride;
            let factor = 1.0 / self.normaliser[start / width + row * heads];
            let (upstream, y) = (&self.upstream[at..at + width], &self.y[at..at + width]);
            let gradient = &mut scratch.gradient[row * width..(row + 1) * width];
            for (gradient, upstream) in gradient.iter_mut().zip(upstream) {
                *gradient = upstream * factor;
            }
            scratch.slope[row] = -dot(gradient, y);
        }
    }

    /// Products of a block with itself, below the diagonal: φ(q)φ(k)ᵀ and the gradient of it.
    fn inside(&self, scratch: &mut Scratch, task: usize, block: [usize; 2], both: bool) {
        let (rows, width) = (block_rows(block), self.sizes.width);
        let values = self.sizes.rows(self.inputs[2], task, block);
        whole_mut(&mut scratch.slopes, rows, rows).set_product(
            whole(&scratch.gradient, rows, width),
            values.transposed(),
            1.0,
            false,
        );
        if both {
            whole_mut(&mut scratch.weights, rows, rows).set_product(
                whole(&scratch.query, rows, width),
                whole(&scratch.key, rows, width).transposed(),
                1.0,
                false,
            );
        }
        for row in 0..rows {
            let line = row * rows..(row + 1) * rows;
            let (seen, unseen) = scratch.slopes[line.clone()].split_at_mut(row + 1);
            seen.iter_mut()
                .for_each(|slope| *slope += scratch.slope[row]);
            unseen.fill(0.0);
            if both {
                scratch.weights[line][row + 1..].fill(0.0);
            }
        }
    }
}

/// `[dquery, dkey, dvalue]`.
pub(in crate::linear_attention) fn backward(
    saved: Saved<FlexTensor>,
    gradient: FlexTensor,
) -> [FlexTensor; 3] {
    let Saved {
        inputs,
        forward,
        lengths,
        causal,
    } = saved;
    // A gradient may be one number spread over a whole tensor.
    let gradient = contiguous(gradient);
    let inputs = inputs.map(contiguous);
    let sizes = Sizes::of(&inputs[0]);
    let (width, stride) = (sizes.width, sizes.stride());
    let reader = Reader {
        sizes,
        inputs: inputs.each_ref().map(|input| input.storage::<f32>()),
        y: forward.y.storage::<f32>(),
        normaliser: forward.normaliser.storage::<f32>(),
        upstream: gradient.storage::<f32>(),
    };
    let (kv, z) = (forward.kv.storage::<f32>(), forward.z.storage::<f32>());
    let v = reader.inputs[2];
    // Zeros, because padded rows are never written.
    let mut results = [(); 3].map(|()| vec![0.0; reader.upstream.len()]);
    let shared = results.each_mut().map(|values| Shared::new(values));
    tasks(
        sizes.batch * sizes.heads,
        sizes.parallel(),
        || Scratch::new(width),
        |scratch, task| {
            let n = sizes.real(&lengths, task);
            // Sums over the keys: whole, or what lies before a block.
            if causal {
                scratch.kv.fill(0.0);
                scratch.z.fill(0.0);
            } else {
                let square = width * width;
                scratch
                    .kv
                    .copy_from_slice(&kv[task * square..(task + 1) * square]);
                scratch
                    .z
                    .copy_from_slice(&z[task * width..(task + 1) * width]);
            }
            for block in blocks(n) {
                let rows = block_rows(block);
                reader.fill(scratch, task, block);
                // SAFETY: a task alone uses its sample and head.
                let mut dquery = unsafe { sizes.rows_mut(&shared[0], task, block) };
                dquery.set_product(
                    whole(&scratch.gradient, rows, width),
                    whole(&scratch.kv, width, width).transposed(),
                    1.0,
                    false,
                );
                if causal {
                    reader.inside(scratch, task, block, false);
                    let key = whole(&scratch.key, rows, width);
                    dquery.set_product(whole(&scratch.slopes, rows, rows), key, 1.0, true);
                    let key = whole(&scratch.key, rows, width).transposed();
                    let values = sizes.rows(v, task, block);
                    whole_mut(&mut scratch.kv, width, width).set_product(key, values, 1.0, true);
                }
                for row in 0..rows {
                    let line = row * width..(row + 1) * width;
                    add_row(dquery.row(row), &scratch.z, scratch.slope[row]);
                    through_features(dquery.row(row), &scratch.query[line]);
                }
                if causal {
                    for row in scratch.key[..rows * width].chunks_exact(width) {
                        add_row(&mut scratch.z, row, 1.0);
                    }
                }
            }
            // Gradients of the sums: whole, or what comes from behind a block.
            scratch.kv.fill(0.0);
            scratch.z.fill(0.0);
            if !causal {
                for block in blocks(n) {
                    reader.fill(scratch, task, block);
                    add_sums(scratch, block_rows(block), width);
                }
            }
            for block in blocks(n).rev() {
                let (rows, start) = (block_rows(block), sizes.at(task, block[0]));
                if causal {
                    reader.fill(scratch, task, block);
                    reader.inside(scratch, task, block, true);
                } else {
                    let key = &mut scratch.key[..rows * width];
                    features(&reader.inputs[1][start..], stride, width, key);
                }
                // SAFETY: a task alone uses its sample and head.
                let (mut dkey, mut dvalue) = unsafe {
                    (
                        sizes.rows_mut(&shared[1], task, block),
                        sizes.rows_mut(&shared[2], task, block),
                    )
                };
                let sums = whole(&scratch.kv, width, width);
                let values = sizes.rows(v, task, block);
                dkey.set_product(values, sums.transposed(), 1.0, false);
                dvalue.set_product(whole(&scratch.key, rows, width), sums, 1.0, false);
                if causal {
                    dkey.set_product(
                        whole(&scratch.slopes, rows, rows).transposed(),
                        whole(&scratch.query, rows, width),
                        1.0,
                        true,
                    );
                    dvalue.set_product(
                        whole(&scratch.weights, rows, rows).transposed(),
                        whole(&scratch.gradient, rows, width),
                        1.0,
                        true,
                    );
                }
                for row in 0..rows {
                    let line = row * width..(row + 1) * width;
                    add_row(dkey.row(row), &scratch.z, 1.0);
                    through_features(dkey.row(row), &scratch.key[line]);
                }
                if causal {
                    add_sums(scratch, rows, width);
                }
            }
        },
    );
    let shape = [sizes.batch, sizes.len, sizes.heads, width];
    results.map(|values| tensor(values, shape))
}

/// Adds a block to the gradients of the sums.
fn add_sums(scratch: &mut Scratch, rows: usize, width: usize) {
    whole_mut(&mut scratch.kv, width, width).set_product(
        whole(&scratch.query, rows, width).transposed(),
        whole(&scratch.gradient, rows, width),
        1.0,
        true,
    );
    let queries = scratch.query[..rows * width].chunks_exact(width);
    for (row, &slope) in queries.zip(&scratch.slope) {
        add_row(&mut scratch.z, row, slope);
    }
}
