mod timing;

use burn::tensor::Tensor;
use proptest::prelude::*;

use super::{linear_attention, reference};
use crate::cases::check;
use crate::fixture::Case;
use crate::gradcheck::{Place, places, values};
use crate::softmax_attention::tests::distance;
use crate::tolerance::relative_rms;
use crate::{Lengths, block_on, linear_attention_step};

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

const NAMES: [&str; 6] = ["y", "kv", "z", "dquery", "dkey", "dvalue"];

/// φ and its derivative.
fn features(x: f64) -> (f64, f64) {
    if x > 0.0 {
        (x + 1.0, 1.0)
    } else {
        (x.exp(), x.exp())
    }
}

/// The definition in f64, pair by pair: y, kv, z and the gradients of Σ upstream · y; and the sizes of the terms whose sums the
/// gradients of query and key are.
fn expected(
    [q, k, v, upstream]: [&[f64]; 4],
    [batch, len, heads, width]: [usize; 4],
    lengths: &Lengths,
    causal: bool,
) -> ([Vec<f64>; 6], [Vec<f64>; 2]) {
    let size = batch * len * heads * width;
    let [mut y, mut dq, mut dk, mut dv] = [(); 4].map(|()| vec![0.0; size]);
    let [mut dq_terms, mut dk_terms] = [(); 2].map(|()| vec![0.0; size]);
    let mut kv = vec![0.0; batch * heads * width * width];
    let mut z = vec![0.0; batch * heads * width];
    for b in 0..batch {
        let n = lengths.as_slice()[b] as usize;
        for h in 0..heads {
            let at = |i: usize| ((b * len + i) * heads + h) * width;
            for j in 0..n {
                for p in 0..width {
                    let key = features(k[at(j) + p]).0;
                    z[(b * heads + h) * width + p] += key;
                    for w in 0..width {
                        kv[((b * heads + h) * width + p) * width + w] += key * v[at(j) + w];
                    }
                }
            }
            for i in 0..n {
                let keys = if causal { i + 1 } else { n };
                let weights: Vec<f64> = (0..keys)
                    .map(|j| {
                        (0..width)
                            .map(|p| features(q[at(i) + p]).0 * features(k[at(j) + p]).0)
                            .sum()
                    })
                    .collect();
                let normaliser = weights.iter().sum::<f64>() + 1e-6;
                for (j, weight) in weights.iter().enumerate() {
                    for p in 0..width {
                        y[at(i) + p] += weight / normaliser * v[at(j) + p];
                    }
                }
                let along: f64 = (0..width).map(|p| upstream[at(i) + p] * y[at(i) + p]).sum();
                for (j, weight) in weights.iter().enumerate() {
                    let product: f64 = (0..width).map(|p| upstream[at(i) + p] * v[at(j) + p]).sum();
                    let slope = (product - along) / normaliser;
                    let slope_terms = (product.abs() + along.abs()) / normaliser;
                    for p in 0..width {
                        let (query, dquery) = features(q[at(i) + p]);
                        let (key, dkey) = features(k[at(j) + p]);
                        dq[at(i) + p] += slope * key * dquery;
                        dk[at(j) + p] += slope * query * dkey;
                        dq_terms[at(i) + p] += slope_terms * key * dquery;
                        dk_terms[at(j) + p] += slope_terms * query * dkey;
                        dv[at(j) + p] += weight / normaliser * upstream[at(i) + p];
                    }
                }
            }
        }
    }
    ([y, kv, z, dq, dk, dv], [dq_terms, dk_terms])
}

/// Results and gradients at a place, in the order of [`NAMES`]. The upstream gradient is as loud at padding as elsewhere.
fn run(
    place: &Place,
    data: [&[f64]; 4],
    dims: [usize; 4],
    lengths: &Lengths,
    causal: bool,
) -> [Vec<f64>; 6] {
    let leaves = [0, 1, 2].map(|which| place.leaf(data[which], dims));
    let [q, k, v] = leaves.clone();
    let out = linear_attention(q, k, v, lengths, causal);
    let upstream = place.tensor(data[3], dims).autodiff();
    let gradients = (out.y.clone() * upstream).sum().backward();
    let [q, k, v] = leaves.map(|leaf| host(leaf.grad(&gradients).expect("a leaf has a gradient")));
    [host(out.y), host(out.kv), host(out.z), q, k, v]
}

fn inputs(dims: [usize; 4], lengths: &Lengths, seed: u64) -> [Vec<f64>; 4] {
    scaled_inputs(dims, lengths, [1.5; 3], seed)
}

/// Queries, keys and values in ± the three scales.
fn scaled_inputs(
    dims: [usize; 4],
    lengths: &Lengths,
    scales: [f64; 3],
    seed: u64,
) -> [Vec<f64>; 4] {
    let [batch, len, heads, width] = dims;
    let mut data = [0, 1, 2, 3].map(|which| {
        let scale = scales.get(which).copied().unwrap_or(1.5);
        values(dims.iter().product(), scale, seed * 4 + which as u64)
    });
    // What is padding must not be read.
    for (b, &n) in lengths.as_slice().iter().enumerate().take(batch) {
        let row = |position: usize| (b * len + position) * heads * width;
        for data in &mut data {
            data[row(n as usize)..row(len)].fill(1e4);
        }
    }
    data
}

fn compare(place: &Place, lengths: &Lengths, dims: [usize; 4], causal: bool, seed: u64) {
    compare_data(
        place,
        lengths,
        dims,
        causal,
        &inputs(dims, lengths, seed),
        false,
    );
}

/// With `extreme` data, gradients that are differences of what is almost equal are measured by those terms.
fn compare_data(
    place: &Place,
    lengths: &Lengths,
    dims: [usize; 4],
    causal: bool,
    data: &[Vec<f64>; 4],
    extreme: bool,
) {
    let data = data.each_ref().map(Vec::as_slice);
    let (want, [dq_terms, dk_terms]) = expected(data, dims, lengths, causal);
    let got = run(place, data, dims, lengths, causal);
    let stride = dims[2] * dims[3];
    for ((name, got), want) in NAMES.iter().zip(&got).zip(&want) {
        let what = format!(
            "{name} on {}, {dims:?}, {lengths:?}, causal {causal}",
            place.name
        );
        // Gradients of queries and keys are differences: of a single key, y is v but for eps, and they vanish.
        let measure = match *name {
            "dquery" => &dq_terms,
            "dkey" => &dk_terms,
            _ => want,
        };
        let largest = want.iter().fold(0f64, |largest, x| largest.max(x.abs()));
        let error = if extreme || largest < 1e-5 {
            distance(got, want, measure, 1e-18)
        } else {
            relative_rms(got, want)
        };
        assert!(error < 2e-5, "{what}: relative RMS {error:e}");
        if !["kv", "z"].contains(name) {
            for (b, &n) in lengths.as_slice().iter().enumerate() {
                let sample = &got[b * dims[1] * stride..(b + 1) * dims[1] * stride];
                assert!(
                    sample[n as usize * stride..]
                        .iter()
                        .all(|&value| value == 0.0),
                    "{what}: padding is not zero"
                );
            }
        }
    }
}

#[test]
fn reference_cases() {
    for place in places() {
        for name in ["tiny", "ragged", "wide", "long"] {
            for kind in ["bidirectional", "causal"] {
                let path = format!("ops/linear-attention/{kind}-{name}");
                let case = Case::read(&crate::cases::fixtures(), &path).unwrap();
                let report = block_on(check(&case, &place.device)).unwrap();
                assert!(
                    report.passed && report.tensors.len() == 6,
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
        for (seed, len) in [1usize, 31, 33, 63, 64, 65, 257].into_iter().enumerate() {
            let lengths = Lengths::new(vec![len as u32, len.div_ceil(2) as u32]);
            for causal in [false, true] {
                compare(&place, &lengths, [2, len, 2, 8], causal, seed as u64);
            }
        }
    }
}

#[test]
fn widths() {
    for place in places() {
        for width in [1, 4, 17, 64, 128] {
            let lengths = Lengths::new(vec![140, 70]);
            for causal in [false, true] {
                compare(&place, &lengths, [2, 141, 1, width], causal, width as u64);
            }
        }
    }
}

#[test]
fn a_sample_without_positions_gives_zeros() {
    for place in places() {
        for causal in [false, true] {
            compare(&place, &Lengths::new(vec![0, 3]), [2, 5, 3, 8], causal, 1);
        }
    }
}

#[test]
fn features_that_vanish_and_loud_inputs_stay_finite() {
    for place in places() {
        let (dims, lengths) = ([1, 70, 1, 8], Lengths::full(1, 70));
        for scale in [300.0, 3e4] {
            for causal in [false, true] {
                let mut data = inputs(dims, &lengths, 3);
                data[0].iter_mut().for_each(|x| *x *= scale);
                // Every φ(k) is zero: only eps is left of the normaliser.
                data[1].iter_mut().for_each(|x| *x = -x.abs() * scale);
                let data = data.each_ref().map(Vec::as_slice);
                for (name, got) in NAMES.iter().zip(run(&place, data, dims, &lengths, causal)) {
                    assert!(
                        got.iter().all(|value| value.is_finite()),
                        "{name} on {}, causal {causal}",
                        place.name
                    );
                }
            }
        }
    }
}

/// The step at `place` against its definition in f64, behind sums that are not zero.
fn check_step(
    place: &Place,
    dims @ [batch, heads, width]: [usize; 3],
    scales: [f64; 3],
    seed: u64,
) {
    let count = batch * heads * width;
    let [q, k, v] = [0, 1, 2].map(|i| values(count, scales[i], seed * 8 + i as u64));
    let positive = |len: usize, number: u64| -> Vec<f64> {
        let all = values(len, 1.0, seed * 8 + number);
        all.iter().map(|x| x.abs()).collect()
    };
    let (mut kv, mut z) = (values(count * width, 1.0, seed * 8 + 3), positive(count, 4));
    let kv_dims = [batch, heads, width, width];
    let (y, got_kv, got_z) = linear_attention_step(
        place.tensor(&q, dims),
        place.tensor(&k, dims),
        place.tensor(&v, dims),
        place.tensor(&kv, kv_dims),
        place.tensor(&z, dims),
    );
    let mut want = vec![0.0; count];
    for row in (0..count).step_by(width) {
        let mut normaliser = 1e-6;
        for p in row..row + width {
            let (query, key) = (features(q[p]).0, features(k[p]).0);
            z[p] += key;
            normaliser += query * z[p];
            for w in 0..width {
                kv[p * width + w] += key * v[row + w];
                want[row + w] += query * kv[p * width + w];
            }
        }
        want[row..row + width]
            .iter_mut()
            .for_each(|y| *y /= normaliser);
    }
    let what = |name: &str| format!("{name} of a step of {dims:?}, scales {scales:?}");
    // Features of nothing are what an f32 rounds them to.
    let nothing = |values: &[f64]| values.iter().all(|value| value.abs() < 1e-18);
    if !(nothing(&want) && nothing(&host(y.clone()))) {
        place.assert_close(&what("y"), y, &want);
    }
    place.assert_close(&what("kv"), got_kv, &kv);
    place.assert_close(&what("z"), got_z, &z);
}

/// From features near 1 to features of nothing beside features of thousands. Nearer 1 the gradients are differences of what is
/// almost equal.
fn loudness() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![0.3, 1.0, 30.0, 3e3])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn extreme_inputs_match_f64(
        lengths in prop::collection::vec(0u32..100, 1..3),
        (heads, width) in (1usize..3, prop::sample::select(vec![1usize, 4, 9])),
        scales in (loudness(), loudness(), prop::sample::select(vec![1e-3, 1.0, 1e6])),
        causal in any::<bool>(),
        seed in 0u64..1000,
    ) {
        let lengths = Lengths::new(lengths);
        let dims = [lengths.batch(), lengths.max() + 1, heads, width];
        let scales = scales.into();
        let data = scaled_inputs(dims, &lengths, scales, seed);
        for place in places() {
            compare_data(&place, &lengths, dims, causal, &data, true);
            check_step(&place, [lengths.batch(), heads, width], scales, seed);
        }
    }
}

#[test]
fn the_same_tensor_may_be_query_key_and_value() {
    for place in places() {
        let x = values(33 * 2 * 8, 1.0, 5);
        let lengths = Lengths::full(1, 33);
        for causal in [false, true] {
            let leaf: Tensor<4> = place.tensor(&x, [1, 33, 2, 8]);
            let got = linear_attention(leaf.clone(), leaf.clone(), leaf, &lengths, causal).y;
            let (want, _) = expected([&x, &x, &x, &x], [1, 33, 2, 8], &lengths, causal);
            place.assert_close("y", got, &want[0]);
        }
    }
}

#[test]
fn prefill_and_steps_equal_the_whole() {
    for place in places() {
        for (width, prefill) in [(17, 66), (64, 0), (80, 3)] {
            let dims = [2, prefill + 5, 2, width];
            let data = inputs(dims, &Lengths::full(2, dims[1]), 9);
            let [q, k, v] = [0, 1, 2].map(|which| place.tensor::<4>(&data[which], dims));
            let lengths = Lengths::full(2, dims[1]);
            let whole = linear_attention(q.clone(), k.clone(), v.clone(), &lengths, true);
            let part = |tensor: &Tensor<4>| tensor.clone().narrow(1, 0, prefill.max(1));
            let lengths = Lengths::full(2, prefill);
            let start = linear_attention(part(&q), part(&k), part(&v), &lengths, true);
            let (mut kv, mut z) = (start.kv, start.z);
            for position in prefill..dims[1] {
                let token =
                    |tensor: &Tensor<4>| tensor.clone().narrow(1, position, 1).squeeze_dim::<3>(1);
                // Sums that somebody else holds must not change.
                let held = (kv.clone(), host(kv.clone()));
                let (y, next_kv, next_z) =
                    linear_attention_step(token(&q), token(&k), token(&v), kv, z);
                assert_eq!(host(held.0), held.1, "on {}", place.name);
                (kv, z) = (next_kv, next_z);
                let want = host(token(&whole.y));
                place.assert_close(&format!("y at {position} of width {width}"), y, &want);
            }
            place.assert_close("kv", kv, &host(whole.kv));
            place.assert_close("z", z, &host(whole.z));
        }
    }
}

#[test]
fn plain_forms_agree() {
    let place = &places()[0];
    let (dims, lengths) = ([2, 130, 2, 8], Lengths::new(vec![130, 70]));
    let mut data = inputs(dims, &lengths, 4);
    data.iter_mut()
        .for_each(|data| data.iter_mut().for_each(|x| *x = x.min(2.0)));
    let want = |causal| {
        let data = data.each_ref().map(Vec::as_slice);
        expected(data, dims, &lengths, causal).0
    };
    let [q, k, v] = [0, 1, 2].map(|which| place.tensor::<4>(&data[which], dims));
    for causal in [false, true] {
        let out = reference::linear_attention(q.clone(), k.clone(), v.clone(), &lengths, causal);
        place.assert_close("y", out.y, &want(causal)[0]);
        place.assert_close("kv", out.kv, &want(causal)[1]);
        place.assert_close("z", out.z, &want(causal)[2]);
    }
    let y = reference::linear_attention_chunked(q, k, v, &lengths);
    place.assert_close("chunked y", y, &want(true)[0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]
    #[test]
    fn any_lengths_and_widths(
        lengths in prop::collection::vec(0u32..90, 1..4),
        extra in 0usize..3,
        heads in 1usize..4,
        width in prop::sample::select(vec![3usize, 5, 16, 33]),
        causal in any::<bool>(),
        seed in 0u64..1000,
    ) {
        let lengths = Lengths::new(lengths);
        let dims = [lengths.batch(), lengths.max() + extra.max(1), heads, width];
        for place in places() {
            compare(&place, &lengths, dims, causal, seed);
        }
    }
}
