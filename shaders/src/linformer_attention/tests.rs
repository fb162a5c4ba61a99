use burn::tensor::Tensor;
use proptest::prelude::*;

use super::{check_lengths, linformer_attention, project, reference};
use crate::cases::check;
use crate::fixture::Case;
use crate::gradcheck::{Place, places, values};
use crate::softmax_attention::Visible;
use crate::softmax_attention::tests::{distance, expected};
use crate::tolerance::relative_rms;
use crate::{Lengths, ShapeError, block_on};

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// The projection and its gradients at `place` beside those of the reference on the CPU.
fn compare(
    place: &Place,
    lengths: &Lengths,
    [len, heads, width]: [usize; 3],
    [max_len, slots]: [usize; 2],
    seed: u64,
) {
    let batch = lengths.batch();
    let (dims, out_dims) = ([batch, len, heads, width], [batch, slots, heads, width]);
    let input = values(dims.iter().product(), 2.0, seed);
    let projection = values(max_len * slots, 1.0, seed + 1);
    let upstream = values(out_dims.iter().product(), 1.0, seed + 2);
    let run = |place: &Place, fused: bool| {
        let (x, e) = (
            place.leaf(&input, dims),
            place.leaf(&projection, [max_len, slots]),
        );
        let out = match fused {
            true => project(x.clone(), e.clone(), lengths),
            false => reference::project(x.clone(), e.clone(), lengths),
        };
        let gradients = (out.clone() * place.tensor(&upstream, out_dims).autodiff())
            .sum()
            .backward();
        [
            host(out),
            host(x.grad(&gradients).unwrap()),
            host(e.grad(&gradients).unwrap()),
        ]
    };
    let cpu = Place {
        name: "flex",
        device: burn::tensor::Device::flex(),
        allowed: 0.0,
    };
    let want = run(&cpu, false);
    let got = run(place, true);
    for (name, (got, want)) in ["out", "dinput", "dprojection"]
        .iter()
        .zip(got.iter().zip(&want))
    {
        let error = relative_rms(got, want);
        assert!(
            error < 5e-6,
            "{name} on {}: relative RMS {error:e}; L {len}, k {slots}, {lengths:?}",
            place.name
        );
    }
}

/// Eᵀ[..n] X / √n in f64, and with `back` its transpose, from slots to positions.
fn projected(
    x: &[f64],
    e: &[f64],
    lengths: &Lengths,
    [len, row, slots]: [usize; 3],
    back: bool,
) -> Vec<f64> {
    let of_sample = if back { len } else { slots } * row;
    let mut out = vec![0.0; lengths.batch() * of_sample];
    for (b, &n) in lengths.as_slice().iter().enumerate() {
        let scale = 1.0 / f64::from(n).sqrt();
        for (t, slot) in (0..n as usize).flat_map(|t| (0..slots).map(move |slot| (t, slot))) {
            let (at_t, at_slot) = ((b * len + t) * row, (b * slots + slot) * row);
            let (from, to) = if back {
                (at_slot, at_t)
            } else {
                (at_t, at_slot)
            };
            for i in 0..row {
                out[to + i] += scale * e[t * slots + slot] * x[from + i];
            }
        }
    }
    out
}

/// Output and every gradient of the operator at `place` against the definition in f64.
fn compare_whole(
    place: &Place,
    lengths: &Lengths,
    [len, heads, width]: [usize; 3],
    slots: usize,
    loudness: f64,
    seed: u64,
) {
    let (dims, e_dims) = ([lengths.batch(), len, heads, width], [len + 2, slots]);
    let count = dims.iter().product();
    let [q, k] = [0, 1].map(|number| values(count, loudness, seed + number));
    let [v, upstream] = [2, 3].map(|number| values(count, 1.0, seed + number));
    let [e, f] = [4, 5].map(|number| values(e_dims[0] * slots, 1.0, seed + number));
    let sizes = [len, heads * width, slots];
    let (keys, summed) = (
        projected(&k, &e, lengths, sizes, false),
        projected(&v, &f, lengths, sizes, false),
    );
    let visible = Visible {
        queries: lengths.clone(),
        keys: Lengths::full(lengths.batch(), slots),
        causal: false,
    };
    let ([out, dq, dkeys, dsummed], _) = expected(
        [&q, &keys, &summed, &upstream],
        &visible,
        (len, slots, heads, width),
    );
    let into_projection = |x: &[f64], d: &[f64]| {
        let (row, mut found) = (heads * width, vec![0.0; e_dims[0] * slots]);
        for (b, &n) in lengths.as_slice().iter().enumerate() {
            for (t, slot) in (0..n as usize).flat_map(|t| (0..slots).map(move |slot| (t, slot))) {
                let (x, d) = (&x[(b * len + t) * row..], &d[(b * slots + slot) * row..]);
                let product: f64 = x[..row].iter().zip(d).map(|(x, d)| x * d).sum();
                found[t * slots + slot] += product / f64::from(n).sqrt();
            }
        }
        found
    };
    let want = [
        out,
        dq,
        projected(&dkeys, &e, lengths, sizes, true),
        projected(&dsummed, &f, lengths, sizes, true),
        into_projection(&k, &dkeys),
        into_projection(&v, &dsummed),
    ];
    let [q, k, v] = [&q, &k, &v].map(|data| place.leaf(data, dims));
    let [e, f] = [&e, &f].map(|data| place.leaf(data, e_dims));
    let got = linformer_attention(
        q.clone(),
        k.clone(),
        v.clone(),
        e.clone(),
        f.clone(),
        lengths,
    );
    let gradients = (got.clone() * place.tensor(&upstream, dims).autodiff())
        .sum()
        .backward();
    let of = |leaf: &Tensor<4>| host(leaf.grad(&gradients).unwrap());
    let of_projection = |leaf: &Tensor<2>| host(leaf.grad(&gradients).unwrap());
    let got = [
        host(got),
        of(&q),
        of(&k),
        of(&v),
        of_projection(&e),
        of_projection(&f),
    ];
    // A score is known to a few units in its last place, which is what a weight is off by.
    let largest_score = loudness * loudness * (width * len) as f64 / (width as f64).sqrt();
    let allowed = 2e-5 + 4.0 * f64::from(f32::EPSILON) * largest_score;
    for ((name, got), want) in ["out", "dquery", "dkey", "dvalue", "dE", "dF"]
        .iter()
        .zip(&got)
        .zip(&want)
    {
        let what = format!(
            "{name} on {}; {dims:?}, {slots} slots, loudness {loudness}, {lengths:?}",
            place.name
        );
        let error = distance(got, want, want, loudness.min(1.0));
        assert!(
            error < allowed,
            "{what}: relative RMS {error:e}, allowed {allowed:e}"
        );
    }
    let padding = lengths.as_slice().iter().enumerate().all(|(b, &n)| {
        let row = heads * width;
        let rows = (b * len + n as usize) * row..(b + 1) * len * row;
        got[..4]
            .iter()
            .all(|got| got[rows.clone()].iter().all(|&x| x == 0.0))
    });
    assert!(
        padding,
        "padding is not zero on {}, {lengths:?}",
        place.name
    );
}

#[test]
fn reference_cases() {
    for place in places() {
        for name in ["tiny", "ragged", "wide", "long"] {
            let path = format!("ops/linformer-attention/{name}");
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

#[test]
fn lengths_round_the_tiles() {
    for place in places() {
        for (seed, len) in [1usize, 63, 64, 65, 257].into_iter().enumerate() {
            let lengths = Lengths::new(vec![len as u32, len.div_ceil(2) as u32]);
            compare(&place, &lengths, [len, 2, 17], [len + 5, 70], seed as u64);
        }
    }
}

#[test]
fn a_batch_may_be_padded_beyond_the_projection() {
    for place in places() {
        compare(&place, &Lengths::new(vec![5, 2]), [9, 1, 4], [6, 3], 1);
    }
}

#[test]
fn a_large_batch_sums_all_its_terms() {
    // 49,152 and 98,304 terms of one sum: lavapipe leaves a shader's loops, without a word, after 65,535 turns.
    for place in places() {
        for (seed, heads) in [12, 24].into_iter().enumerate() {
            compare(
                &place,
                &Lengths::full(64, 2),
                [2, heads, 64],
                [2, 2],
                seed as u64,
            );
        }
    }
}

#[test]
fn too_long_a_sample_is_an_error_that_names_it() {
    let error = check_lengths(&Lengths::new(vec![3, 9]), 8).unwrap_err();
    assert_eq!(
        error,
        ShapeError::TooLong {
            sample: 1,
            length: 9,
            max_len: 8
        }
    );
    assert_eq!(check_lengths(&Lengths::new(vec![3, 8]), 8), Ok(()));
}

#[test]
fn a_sample_without_positions_gives_zeros() {
    for place in places() {
        let x = || place.tensor(&values(2 * 4 * 2 * 8, 1.0, 1), [2, 4, 2, 8]);
        let e = || place.tensor(&values(6 * 3, 1.0, 2), [6, 3]);
        let out = host(linformer_attention(
            x(),
            x(),
            x(),
            e(),
            e(),
            &Lengths::new(vec![0, 2]),
        ));
        assert!(
            out.iter().all(|value| value.is_finite()),
            "on {}",
            place.name
        );
        assert!(
            out[..4 * 2 * 8].iter().all(|&value| value == 0.0),
            "on {}",
            place.name
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_lengths(
        lengths in prop::collection::vec(1u32..80, 1..4),
        extra in 0usize..4,
        heads in 1usize..3,
        width in 1usize..12,
        slots in 1usize..80,
        seed in 0u64..1000,
    ) {
        let lengths = Lengths::new(lengths);
        let len = lengths.max() + extra;
        for place in places() {
            compare(&place, &lengths, [len, heads, width], [lengths.max() + 3, slots], seed);
        }
    }
    #[test]
    fn the_whole_of_any_lengths_and_loudness(
        lengths in prop::collection::vec(0u32..60, 1..4),
        heads in 1usize..3,
        width in prop::sample::select(vec![1usize, 4, 17]),
        slots in 1usize..70,
        loudness in prop::sample::select(vec![1e-3, 1.0, 8.0]),
        seed in 0u64..1000,
    ) {
        let lengths = Lengths::new(lengths);
        let len = lengths.max() + 1;
        for place in places() {
            compare_whole(&place, &lengths, [len, heads, width], slots, loudness, seed);
        }
    }
}

/// `cargo test --release -p caldera-shaders against_plain -- --ignored --nocapture --test-threads 1`
#[test]
#[ignore = "a measurement"]
fn linformer_against_plain_operations() {
    for place in places() {
        let sizes: &[[usize; 4]] = match place.name {
            "flex" => &[[32, 64, 12, 32], [4, 512, 12, 32]],
            _ => &[[1, 128, 12, 32], [1, 512, 12, 32]],
        };
        for &dims in sizes {
            let data = values(dims.iter().product(), 1.0, 7);
            let projection = values(512 * 256, 1.0, 8);
            let lengths = Lengths::full(dims[0], dims[1]);
            let step = |fused: bool| {
                let [q, k, v] = [0; 3].map(|_| place.leaf(&data, dims));
                let [e, f] = [0; 2].map(|_| place.leaf(&projection, [512, 256]));
                let _ = host(f.clone().inner().sum());
                let start = std::time::Instant::now();
                let out = if fused {
                    linformer_attention(q, k, v, e.clone(), f, &lengths)
                } else {
                    reference::linformer_attention(q, k, v, e.clone(), f, &lengths)
                };
                let gradients = out.sum().backward();
                let _ = host(e.grad(&gradients).unwrap().sum());
                start.elapsed().as_secs_f64() * 1e3
            };
            let rounds = if place.name == "flex" { 10 } else { 3 };
            let (mut fused, mut plain) = (f64::INFINITY, f64::INFINITY);
            for _ in 0..rounds {
                fused = fused.min(step(true));
                plain = plain.min(step(false));
            }
            println!(
                "linformer attention {dims:?}, k 256, on {}, forward and backward: {fused:.2} ms, plain {plain:.2} ms, ratio {:.2}",
                place.name,
                plain / fused
            );
        }
    }
}
