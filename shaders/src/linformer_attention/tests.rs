use burn::tensor::Tensor;
use proptest::prelude::*;

use super::{check_lengths, linformer_attention, project, reference};
use crate::cases::check;
use crate::fixture::Case;
use crate::gradcheck::{Place, places, values};
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
        let error = crate::tolerance::relative_rms(got, want);
        assert!(
            error < 5e-6,
            "{name} on {}: relative RMS {error:e}; L {len}, k {slots}, {lengths:?}",
            place.name
        );
    }
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
