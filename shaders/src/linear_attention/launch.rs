//! Launches linear attention: sums of each chunk, their carry, causal the weights inside the chunks, then rows of the result; backward
//! the same with the chunks in reverse.

use burn_cubecl::tensor::CubeTensor;

use super::products::{
    OF_T, OF_U, Pairs, Rows, STATES, STATS, STRAIGHT, Sizes, TRANSPOSED, VALUES,
};
use super::{Forward, Saved};
use crate::Lengths;
use crate::block_product::THREADS;
use crate::launch::{Kernel, contiguous, empty};

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

/// y, kv, z, normalisers, and the sums where the backward pass takes them.
pub(super) fn forward(
    inputs: [CubeTensor; 3],
    lengths: &Lengths,
    causal: bool,
) -> Forward<CubeTensor> {
    let [query, key, value] = inputs.map(contiguous);
    let sizes = Sizes::of(&query, lengths, causal);
    let Sizes {
        batch,
        len,
        heads,
        width,
        ..
    } = sizes;
    let states = sizes.sums(&key, &value, None);
    let kv = empty(&query, [batch, heads, width, width]);
    let z = empty(&query, [batch, heads, width]);
    sizes.carry(&states, Some([&kv, &z]));
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

/// `[dquery, dkey, dvalue]`.
pub(super) fn backward(saved: Saved<CubeTensor>, gradient: CubeTensor) -> [CubeTensor; 3] {
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
    let states = forward
        .states
        .expect("the forward pass on a GPU keeps them");
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
