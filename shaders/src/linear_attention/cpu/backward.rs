//! The backward pass on the CPU.

use burn_flex::FlexTensor;

use super::{Scratch, Sizes, Sums, add_row, block_rows, blocks, dot, features, whole, whole_mut};
use crate::cpu::{contiguous, fresh, tensor};
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
    /// φ(k) of a block.
    fn fill_key(&self, scratch: &mut Scratch, task: usize, block: [usize; 2]) {
        let Sizes { width, .. } = self.sizes;
        let start = self.sizes.at(task, block[0]);
        let key = &mut scratch.key[..block_rows(block) * width];
        features(&self.inputs[1][start..], self.sizes.stride(), width, key);
    }

    /// φ(q), gradient over normaliser and gradient of the normaliser of a block.
    fn fill_query(&self, scratch: &mut Scratch, task: usize, block: [usize; 2]) {
        let Sizes { width, heads, .. } = self.sizes;
        let (rows, start) = (block_rows(block), self.sizes.at(task, block[0]));
        let (used, stride) = (rows * width, self.sizes.stride());
        let q = self.inputs[0];
        features(&q[start..], stride, width, &mut scratch.query[..used]);
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
    let width = sizes.width;
    let reader = Reader {
        sizes,
        inputs: inputs.each_ref().map(|input| input.storage::<f32>()),
        y: forward.y.storage::<f32>(),
        normaliser: forward.normaliser.storage::<f32>(),
        upstream: gradient.storage::<f32>(),
    };
    let (kv, z) = (forward.kv.storage::<f32>(), forward.z.storage::<f32>());
    let v = reader.inputs[2];
    let mut results = [(); 3].map(|()| fresh(reader.upstream.len()));
    let shared = results.each_mut().map(|values| Shared::new(values));
    // The gradient of a block's queries, and on to the sums behind it.
    let forwards = |scratch: &mut Scratch, sums: &mut Sums, task: usize, block| {
        let rows = block_rows(block);
        reader.fill_query(scratch, task, block);
        // SAFETY: a task alone uses its heads.
        let mut dquery = unsafe { sizes.rows_mut(&shared[0], task, block) };
        let gradient = whole(&scratch.gradient, rows, width);
        let kv = whole(&sums.kv, width, width).transposed();
        dquery.set_product(gradient, kv, 1.0, false);
        if causal {
            reader.fill_key(scratch, task, block);
            reader.inside(scratch, task, block, false);
            let key = whole(&scratch.key, rows, width);
            dquery.set_product(whole(&scratch.slopes, rows, rows), key, 1.0, true);
            let values = sizes.rows(v, task, block);
            let mut kv = whole_mut(&mut sums.kv, width, width);
            kv.set_product(key.transposed(), values, 1.0, true);
        }
        for row in 0..rows {
            let line = row * width..(row + 1) * width;
            add_row(dquery.row(row), &sums.z, scratch.slope[row]);
            through_features(dquery.row(row), &scratch.query[line]);
        }
        if causal {
            for row in scratch.key[..rows * width].chunks_exact(width) {
                add_row(&mut sums.z, row, 1.0);
            }
        } else {
            add_sums(scratch, sums, rows, width);
        }
    };
    // Those of its keys and values.
    let backwards = |scratch: &mut Scratch, sums: &mut Sums, task: usize, block| {
        let rows = block_rows(block);
        reader.fill_key(scratch, task, block);
        if causal {
            reader.fill_query(scratch, task, block);
            reader.inside(scratch, task, block, true);
        }
        // SAFETY: a task alone uses its heads.
        let (mut dkey, mut dvalue) = unsafe {
            (
                sizes.rows_mut(&shared[1], task, block),
                sizes.rows_mut(&shared[2], task, block),
            )
        };
        let dkv = whole(&sums.dkv, width, width);
        let values = sizes.rows(v, task, block);
        dkey.set_product(values, dkv.transposed(), 1.0, false);
        dvalue.set_product(whole(&scratch.key, rows, width), dkv, 1.0, false);
        if causal {
            let slopes = whole(&scratch.slopes, rows, rows).transposed();
            dkey.set_product(slopes, whole(&scratch.query, rows, width), 1.0, true);
            let weights = whole(&scratch.weights, rows, rows).transposed();
            dvalue.set_product(weights, whole(&scratch.gradient, rows, width), 1.0, true);
        }
        for row in 0..rows {
            let line = row * width..(row + 1) * width;
            add_row(dkey.row(row), &sums.dz, 1.0);
            through_features(dkey.row(row), &scratch.key[line]);
        }
        if causal {
            add_sums(scratch, sums, rows, width);
        }
    };
    let of_group = || {
        let heads = (0..sizes.group()).map(|_| Sums::new(width));
        (Scratch::new(width), heads.collect::<Vec<_>>())
    };
    tasks(
        sizes.groups(),
        sizes.parallel(),
        of_group,
        |(scratch, heads), group| {
            let group = sizes.heads_of(group);
            let n = sizes.real(&lengths, group.start);
            for (task, sums) in group.clone().zip(&mut *heads) {
                for result in &shared {
                    // SAFETY: a task alone uses its heads.
                    unsafe { sizes.clear_padding(result, task, n) };
                }
                sums.dkv.fill(0.0);
                sums.dz.fill(0.0);
                // Sums over the keys: whole, or what lies before a block.
                if causal {
                    sums.kv.fill(0.0);
                    sums.z.fill(0.0);
                } else {
                    let square = width * width;
                    sums.kv.copy_from_slice(&kv[task * square..][..square]);
                    sums.z.copy_from_slice(&z[task * width..][..width]);
                }
            }
            for block in blocks(n) {
                for (task, sums) in group.clone().zip(&mut *heads) {
                    forwards(scratch, sums, task, block);
                }
            }
            // Gradients of the sums: whole by now, or what comes from behind a block.
            for block in blocks(n).rev() {
                for (task, sums) in group.clone().zip(&mut *heads) {
                    backwards(scratch, sums, task, block);
                }
            }
        },
    );
    let shape = [sizes.batch, sizes.len, sizes.heads, width];
    results.map(|values| tensor(values, shape))
}

/// Adds a block to the gradients of the sums.
fn add_sums(scratch: &Scratch, sums: &mut Sums, rows: usize, width: usize) {
    whole_mut(&mut sums.dkv, width, width).set_product(
        whole(&scratch.query, rows, width).transposed(),
        whole(&scratch.gradient, rows, width),
        1.0,
        true,
    );
    let queries = scratch.query[..rows * width].chunks_exact(width);
    for (row, &slope) in queries.zip(&scratch.slope) {
        add_row(&mut sums.dz, row, slope);
    }
}
