use burn::tensor::Tensor;
use proptest::prelude::*;

use super::{Visible, attend, reference, softmax_attention};
use crate::cases::check;
use crate::fixture::Case;
use crate::gradcheck::{Place, places, values};
use crate::tuning::{Tuning, in_layout};
use crate::{Lengths, block_on};

/// Sizes of an attention: queries, keys, heads, width.
type Sizes = (usize, usize, usize, usize);

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// The definition in f64, row by row: out and the gradients of query, key and value for the gradient `upstream` of out, and the sizes
/// of the terms that each is a sum of. `q` and `upstream` are `[B, Lq, H, P]`, `k` and `v` `[B, Lk, H, P]`.
pub(crate) fn expected(
    [q, k, v, upstream]: [&[f64]; 4],
    visible: &Visible,
    (queries, keys, heads, width): Sizes,
) -> ([Vec<f64>; 4], [Vec<f64>; 4]) {
    let mut found = [q, q, k, v].map(|of| vec![0.0; of.len()]);
    let mut terms = found.clone();
    let [out, dq, dk, dv] = &mut found;
    let [out_terms, dq_terms, dk_terms, dv_terms] = &mut terms;
    let scale = 1.0 / (width as f64).sqrt();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let counts = visible
        .queries
        .as_slice()
        .iter()
        .zip(visible.keys.as_slice());
    for (b, (&real_queries, &real_keys)) in counts.enumerate() {
        for (i, h) in (0..real_queries as usize).flat_map(|i| (0..heads).map(move |h| (i, h))) {
            let row = ((b * queries + i) * heads + h) * width;
            let key = |j: usize| ((b * keys + j) * heads + h) * width;
            let seen = match visible.causal {
                true => (real_keys as usize).min(i + 1),
                false => real_keys as usize,
            };
            let query = &q[row..row + width];
            let scores: Vec<f64> = (0..seen)
                .map(|j| scale * dot(query, &k[key(j)..key(j) + width]))
                .collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (j, weight) in weights.iter().enumerate() {
                for p in 0..width {
                    out[row + p] += weight / total * v[key(j) + p];
                    out_terms[row + p] += weight / total * v[key(j) + p].abs();
                }
            }
            let up = &upstream[row..row + width];
            let along = dot(up, &out[row..row + width]);
            for (j, weight) in weights.iter().enumerate() {
                let at = key(j);
                let weight = weight / total;
                let product = dot(up, &v[at..at + width]);
                let slope = weight * (product - along) * scale;
                let slope_terms = weight * (product.abs() + along.abs()) * scale;
                for p in 0..width {
                    dv[at + p] += weight * up[p];
                    dq[row + p] += slope * k[at + p];
                    dk[at + p] += slope * q[row + p];
                    dv_terms[at + p] += weight * up[p].abs();
                    dq_terms[row + p] += slope_terms * k[at + p].abs();
                    dk_terms[at + p] += slope_terms * q[row + p].abs();
                }
            }
        }
    }
    (found, terms)
}

/// Output and gradients of the operator at `place` against the definition in f64; queries and keys lie in ±`loudness`.
fn compare(
    place: &Place,
    visible: &Visible,
    sizes @ (queries, keys, heads, width): Sizes,
    loudness: f64,
    seed: u64,
) {
    let batch = visible.queries.batch();
    let (q_dims, k_dims) = ([batch, queries, heads, width], [batch, keys, heads, width]);
    let make =
        |dims: [usize; 4], scale, number| values(dims.iter().product(), scale, seed + number);
    let (q, k) = (make(q_dims, loudness, 0), make(k_dims, loudness, 1));
    let (v, upstream) = (make(k_dims, 2.0, 2), make(q_dims, 1.0, 3));
    let (want, terms) = expected([&q, &k, &v, &upstream], visible, sizes);
    let (q, k, v) = (
        place.leaf(&q, q_dims),
        place.leaf(&k, k_dims),
        place.leaf(&v, k_dims),
    );
    let out = attend(q.clone(), k.clone(), v.clone(), visible.clone());
    let gradients = (out.clone() * place.tensor(&upstream, q_dims).autodiff())
        .sum()
        .backward();
    let [dq, dk, dv] =
        [q, k, v].map(|leaf| host(leaf.grad(&gradients).expect("a leaf has a gradient")));
    // A score is known to a few units in its last place, which is what a weight is off by.
    let largest_score = loudness * loudness * (width as f64).sqrt();
    let allowed = 2e-5 + 4.0 * f64::from(f32::EPSILON) * largest_score;
    let got = [host(out), dq, dk, dv];
    for (i, name) in ["out", "dquery", "dkey", "dvalue"].iter().enumerate() {
        if i > 0 && loudness > 100.0 {
            // Scores are known too little for their gradients to tell more than that they are numbers.
            assert!(
                got[i].iter().all(|x| x.is_finite()),
                "{name} on {}",
                place.name
            );
            continue;
        }
        // With one key almost alone, its slope is a difference of what is almost equal: then the terms are the measure.
        let measure = if loudness > 2.0 { &terms[i] } else { &want[i] };
        let error = distance(&got[i], &want[i], measure, loudness.min(1.0));
        assert!(
            error <= allowed,
            "{name} on {}: relative RMS {error:e}, allowed {allowed:e}; {queries} queries, {keys} keys, {heads} heads of {width}, \
             loudness {loudness}, {visible:?}",
            place.name
        );
    }
}

/// Norm of the difference relative to that of `measure`, or to `least` where that is less than half of it: of one key the weight is exactly
/// 1, and gradients of scores vanish but for rounding.
pub(crate) fn distance(got: &[f64], want: &[f64], measure: &[f64], least: f64) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>();
    let off = squares(&mut got.iter().zip(want).map(|(got, want)| got - want));
    let size = squares(&mut measure.iter().copied());
    let least = least * least;
    let size = if size < 0.25 * least { least } else { size };
    if off.is_finite() {
        (off / size).sqrt()
    } else {
        f64::INFINITY
    }
}

#[test]
fn reference_cases() {
    for place in places() {
        for name in ["tiny", "ragged", "wide", "long"] {
            for kind in ["bidirectional", "causal"] {
                let path = format!("ops/softmax-attention/{kind}-{name}");
                let case = Case::read(&crate::cases::fixtures(), &path).unwrap();
                let report = block_on(check(&case, &place.device)).unwrap();
                assert!(
                    report.passed && report.tensors.len() == 4,
                    "{path} on {}: {report:#?}",
                    place.name
                );
            }
        }
    }
}

#[test]
fn lengths_round_the_tiles() {
    for place in places() {
        for (seed, len) in [1usize, 63, 64, 65, 257].into_iter().enumerate() {
            let lengths = Lengths::new(vec![len as u32, len.div_ceil(2) as u32]);
            for causal in [false, true] {
                let visible = Visible {
                    queries: lengths.clone(),
                    keys: lengths.clone(),
                    causal,
                };
                compare(&place, &visible, (len, len, 2, 32), 2.0, seed as u64);
            }
        }
    }
}

#[test]
fn laid_out_for_either_kind_of_adapter() {
    for tuning in [Tuning::Hardware, Tuning::Software] {
        in_layout(tuning, either_layout);
    }
}

fn either_layout() {
    for place in places() {
        for (width, len) in [(16, 130usize), (64, 70), (80, 33)] {
            let lengths = Lengths::new(vec![len as u32, len.div_ceil(3) as u32]);
            for causal in [false, true] {
                let visible = Visible {
                    queries: lengths.clone(),
                    keys: lengths.clone(),
                    causal,
                };
                compare(&place, &visible, (len, len, 2, width), 2.0, len as u64);
            }
        }
    }
}

#[test]
fn widths_up_to_the_limit_and_past_it() {
    for place in places() {
        for width in [1, 33, 64, 128, 130] {
            let lengths = Lengths::new(vec![19, 8]);
            let visible = Visible {
                queries: lengths.clone(),
                keys: lengths,
                causal: width % 2 == 0,
            };
            compare(&place, &visible, (19, 19, 2, width), 2.0, width as u64);
        }
    }
}

#[test]
fn a_sample_without_positions_gives_zeros() {
    for place in places() {
        let tensor = || place.leaf(&values(2 * 5 * 3 * 8, 1.0, 1), [2, 5, 3, 8]);
        let lengths = Lengths::new(vec![0, 3]);
        let (q, k, v) = (tensor(), tensor(), tensor());
        let out = softmax_attention(q.clone(), k.clone(), v.clone(), &lengths, false);
        let gradients = out.clone().sum().backward();
        for (name, tensor) in [
            ("out", out.inner()),
            ("dquery", q.grad(&gradients).unwrap()),
            ("dkey", k.grad(&gradients).unwrap()),
            ("dvalue", v.grad(&gradients).unwrap()),
        ] {
            let found = host(tensor);
            assert!(
                found.iter().all(|value| value.is_finite()),
                "{name} on {}",
                place.name
            );
            let (none, some) = found.split_at(found.len() / 2);
            let padding = &some[3 * 3 * 8..];
            assert!(
                none.iter().chain(padding).all(|&value| value == 0.0),
                "{name} on {}",
                place.name
            );
        }
    }
}

#[test]
fn the_same_tensor_may_be_query_key_and_value() {
    for place in places() {
        let x: Tensor<4> = place.tensor(&values(33 * 2 * 8, 1.0, 5), [1, 33, 2, 8]);
        let lengths = Lengths::full(1, 33);
        let got = softmax_attention(x.clone(), x.clone(), x.clone(), &lengths, true);
        let want = reference::softmax_attention(x.clone(), x.clone(), x, &lengths, true);
        place.assert_close("out", got, &host(want));
    }
}

#[test]
fn loud_scores_do_not_overflow() {
    for place in places() {
        let q: Tensor<4> = place.tensor(&values(20 * 8, 300.0, 1), [1, 20, 1, 8]);
        let k: Tensor<4> = place.tensor(&values(20 * 8, 300.0, 2), [1, 20, 1, 8]);
        let v: Tensor<4> = place.tensor(&values(20 * 8, 1.0, 3), [1, 20, 1, 8]);
        let lengths = Lengths::full(1, 20);
        let got = host(softmax_attention(q, k, v, &lengths, false));
        assert!(
            got.iter()
                .all(|value| value.is_finite() && value.abs() <= 1.01),
            "on {}",
            place.name
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn any_lengths_layout_and_loudness(
        lengths in prop::collection::vec((0u32..40, 0u32..30), 1..4),
        heads in 1usize..4,
        width in prop::sample::select(vec![3usize, 8, 33]),
        loudness in prop::sample::select(vec![1e-3, 1.0, 30.0, 300.0]),
        causal in any::<bool>(),
        seed in 0u64..1000,
    ) {
        let (queries, keys): (Vec<u32>, Vec<u32>) = lengths.into_iter().unzip();
        let (queries, keys) = (Lengths::new(queries), Lengths::new(keys));
        let sizes = (queries.max() + 1, keys.max() + 2, heads, width);
        let visible = Visible { queries, keys, causal };
        for place in places() {
            compare(&place, &visible, sizes, loudness, seed);
        }
    }
}

/// `cargo test --release -p caldera-shaders against_plain -- --ignored --nocapture --test-threads 1`
#[test]
#[ignore = "a measurement"]
fn attention_against_plain_operations() {
    for place in places() {
        let sizes: &[[usize; 4]] = match place.name {
            "flex" => &[[32, 64, 12, 32], [4, 512, 12, 32]],
            _ => &[[1, 128, 12, 32], [1, 512, 12, 32]],
        };
        for &dims in sizes {
            let data = values(dims.iter().product(), 1.0, 7);
            let lengths = Lengths::full(dims[0], dims[1]);
            for backward in [false, true] {
                let step = |fused: bool| {
                    let [q, k, v] = [0; 3].map(|_| place.leaf(&data, dims));
                    // What was queued before must not count.
                    let _ = host(v.clone().inner().sum());
                    let start = std::time::Instant::now();
                    let out = if fused {
                        softmax_attention(q.clone(), k, v, &lengths, false)
                    } else {
                        reference::softmax_attention(q.clone(), k, v, &lengths, false)
                    };
                    if backward {
                        let gradients = out.sum().backward();
                        let _ = host(q.grad(&gradients).unwrap().sum());
                    } else {
                        let _ = host(out.inner().sum());
                    }
                    start.elapsed().as_secs_f64() * 1e3
                };
                let rounds = if place.name == "flex" { 15 } else { 4 };
                let (mut fused, mut plain) = (f64::INFINITY, f64::INFINITY);
                for _ in 0..rounds {
                    fused = fused.min(step(true));
                    plain = plain.min(step(false));
                }
                let pass = if backward {
                    "forward and backward"
                } else {
                    "forward"
                };
                println!(
                    "softmax attention {dims:?} on {}, {pass}: {fused:.2} ms, plain {plain:.2} ms, ratio {:.2}",
                    place.name,
                    plain / fused
                );
            }
        }
    }
}
