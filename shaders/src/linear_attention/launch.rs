//! Launches linear attention: sums of each chunk, their carry, causal the weights inside the chunks, then rows of the result; backward
//! the same with the chunks in reverse.

use std::ops::Range;

use burn::backend::ops::FloatTensorOps;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::products::{
    OF_T, OF_U, Pairs, Rows, STATES, STATS, STRAIGHT, Sizes, TRANSPOSED, VALUES,
};
use super::{Forward, Saved};
use crate::Lengths;
use crate::block_product::THREADS;
use crate::launch::{Kernel, SLICE_BYTES, contiguous, empty, samples};

/// φ(q_t) · φ(k_u) for the pairs of positions of a chunk.
fn weights(sizes: &Sizes<'_>, query: &CubeTensor, key: &CubeTensor) -> Option<CubeTensor> {
    sizes.weights(&Pairs {
        name: "linear attention, weights",
        what: "φ(q_t) · φ(k_u)",
        buffers: &[("query", query, VALUES), ("key", key, VALUES)],
        of_t: "features(query[at])",
        of_u: "features(key[at])",
        bias: "",
    })
}

/// As many samples at a time as every browser binds of the largest tensors between the kernels.
fn at_once(query: &CubeTensor, lengths: &Lengths, causal: bool) -> usize {
    let one = Sizes::of(query, lengths, causal).bytes_of_a_sample();
    (SLICE_BYTES / one.max(1)).max(1)
}

/// The samples of a batch, `at_once` at a time.
fn rounds(batch: usize, at_once: usize) -> impl Iterator<Item = Range<usize>> {
    (0..batch)
        .step_by(at_once)
        .map(move |first| first..(first + at_once).min(batch))
}

fn lengths_of(lengths: &Lengths, range: &Range<usize>) -> Lengths {
    Lengths::new(lengths.as_slice()[range.clone()].to_vec())
}

/// y, kv, z, normalisers, and the sums where the backward pass takes them.
pub(super) fn forward(
    inputs: [CubeTensor; 3],
    lengths: &Lengths,
    causal: bool,
) -> Forward<CubeTensor> {
    let at_once = at_once(&inputs[0], lengths, causal);
    if lengths.batch() <= at_once {
        return forward_of(inputs, lengths, causal);
    }
    let [mut y, mut kv, mut z, mut normaliser] = [(); 4].map(|()| Vec::new());
    for range in rounds(lengths.batch(), at_once) {
        let inputs = inputs.each_ref().map(|x| samples(x, &range));
        let part = forward_of(inputs, &lengths_of(lengths, &range), causal);
        y.push(part.y);
        kv.push(part.kv);
        z.push(part.z);
        normaliser.push(part.normaliser);
    }
    let [y, kv, z, normaliser] =
        [y, kv, z, normaliser].map(|parts| CubeBackend::float_cat(parts, 0));
    Forward {
        y,
        kv,
        z,
        normaliser,
        states: None,
    }
}

/// `[dquery, dkey, dvalue]`.
pub(super) fn backward(saved: Saved<CubeTensor>, gradient: CubeTensor) -> [CubeTensor; 3] {
    let at_once = at_once(&saved.inputs[0], &saved.lengths, saved.causal);
    let batch = saved.lengths.batch();
    if batch <= at_once {
        return backward_of(saved, gradient);
    }
    let mut gradients = [(); 3].map(|()| Vec::new());
    for range in rounds(batch, at_once) {
        let of = |x: &CubeTensor| samples(x, &range);
        let Forward {
            y,
            kv,
            z,
            normaliser,
            ..
        } = &saved.forward;
        let part = Saved {
            inputs: saved.inputs.each_ref().map(of),
            forward: Forward {
                y: of(y),
                kv: of(kv),
                z: of(z),
                normaliser: of(normaliser),
                states: None,
            },
            lengths: lengths_of(&saved.lengths, &range),
            causal: saved.causal,
        };
        let part = backward_of(part, of(&gradient));
        for (parts, part) in gradients.iter_mut().zip(part) {
            parts.push(part);
        }
    }
    gradients.map(|parts| CubeBackend::float_cat(parts, 0))
}

fn forward_of(inputs: [CubeTensor; 3], lengths: &Lengths, causal: bool) -> Forward<CubeTensor> {
    let [query, key, value] = inputs.map(contiguous);
    let sizes = Sizes::of(&query, lengths, causal);
    let Sizes {
        batch,
        len,
        heads,
        width,
        ..
    } = sizes;
    let kv = empty(&query, [batch, heads, width, width]);
    let z = empty(&query, [batch, heads, width]);
    let states = sizes.states(&key, &value, [&kv, &z]);
    let weights = weights(&sizes, &query, &key);
    let normaliser = empty(&query, [batch, len, heads]);
    let y = sizes.rows(&Rows {
        name: "linear attention",
        weights: weights.as_ref(),
        pair: OF_T,
        inside: "value[at]",
        inside_buffers: &[("value", &value, VALUES)],
        buffers: &[("query", &query, VALUES), ("states", &states, STATES)],
        normaliser: Some(&normaliser),
        left: "features(query[at])",
        state: STRAIGHT,
        value: "sum / (total + EPS)",
    });
    Forward {
        y,
        kv,
        z,
        normaliser,
        states: Some(states),
    }
}

fn backward_of(saved: Saved<CubeTensor>, gradient: CubeTensor) -> [CubeTensor; 3] {
    let Saved {
        inputs,
        forward,
        lengths,
        causal,
    } = saved;
    let [query, key, value] = inputs.map(contiguous);
    let gradient = contiguous(gradient);
    let sizes = Sizes::of(&query, &lengths, causal);
    let rows = sizes.batch * sizes.len * sizes.heads;
    let stats = empty(&query, [sizes.batch, sizes.len, sizes.heads, 2]);
    let template = include_str!("stats.wgsl");
    Kernel::new("linear attention, stats", template, THREADS).launch(
        &[&gradient, &forward.y, &forward.normaliser, &stats],
        &[rows as u32, sizes.width as u32],
        rows.div_ceil(THREADS as usize),
    );
    let of_weights = sizes.weights(&Pairs {
        name: "linear attention, gradients of weights",
        what: "dy_t / n_t · v_u + dn_t",
        buffers: &[
            ("gradient", &gradient, VALUES),
            ("stats", &stats, STATS),
            ("value", &value, VALUES),
        ],
        of_t: "gradient[at] * stats[row].x",
        of_u: "value[at]",
        bias: " + stats[row].y",
    });
    // Kept by the forward pass, unless it took the batch in rounds; what it sums up to is there already.
    let kept = forward.states;
    let states = kept.unwrap_or_else(|| sizes.states(&key, &value, [&forward.kv, &forward.z]));
    let dquery = sizes.rows(&Rows {
        name: "linear attention, gradient of queries",
        weights: of_weights.as_ref(),
        pair: OF_T,
        inside: "features(key[at])",
        inside_buffers: &[("key", &key, VALUES)],
        buffers: &[
            ("query", &query, VALUES),
            ("gradient", &gradient, VALUES),
            ("stats", &stats, STATS),
            ("states", &states, STATES),
        ],
        normaliser: None,
        left: "gradient[at] * stats[row].x",
        state: TRANSPOSED,
        value: "(sum + stats[row].y * states[states_of(plan) + plan.width * plan.width + column]) * slope(query[at])",
    });
    // Those of the forward pass make room before the next ones are made.
    drop(states);
    let states = sizes.sums(&query, &gradient, Some(&stats));
    sizes.carry(&states, None);
    let dkey = sizes.rows(&Rows {
        name: "linear attention, gradient of keys",
        weights: of_weights.as_ref(),
        pair: OF_U,
        inside: "features(query[at])",
        inside_buffers: &[("query", &query, VALUES)],
        buffers: &[
            ("key", &key, VALUES),
            ("value", &value, VALUES),
            ("states", &states, STATES),
        ],
        normaliser: None,
        left: "value[at]",
        state: TRANSPOSED,
        value: "(sum + states[states_of(plan) + plan.width * plan.width + column]) * slope(key[at])",
    });
    drop(of_weights);
    let weights = weights(&sizes, &query, &key);
    let dvalue = sizes.rows(&Rows {
        name: "linear attention, gradient of values",
        weights: weights.as_ref(),
        pair: OF_U,
        inside: "gradient[at] * stats[row].x",
        inside_buffers: &[("gradient", &gradient, VALUES), ("stats", &stats, STATS)],
        buffers: &[("key", &key, VALUES), ("states", &states, STATES)],
        normaliser: None,
        left: "features(key[at])",
        state: STRAIGHT,
        value: "sum",
    });
    [dquery, dkey, dvalue]
}
