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

/// Output and gradients of the operator at `place` beside those of the reference on the CPU.
fn compare(place: &Place, visible: &Visible, (queries, keys, heads, width): Sizes, seed: u64) {
    let batch = visible.queries.batch();
    let (q_dims, k_dims) = ([batch, queries, heads, width], [batch, keys, heads, width]);
    let size = |dims: [usize; 4]| dims.iter().product::<usize>();
    let data = [
        values(size(q_dims), 2.0, seed),
        values(size(k_dims), 2.0, seed + 1),
        values(size(k_dims), 2.0, seed + 2),
    ];
    let upstream = values(size(q_dims), 1.0, seed + 3);
    let run = |place: &Place, fused: bool| {
        let leaves = [
            place.leaf(&data[0], q_dims),
            place.leaf(&data[1], k_dims),
            place.leaf(&data[2], k_dims),
        ];
        let [q, k, v] = leaves.clone();
        let out = if fused {
            attend(q, k, v, visible.clone())
        } else {
            reference::attend(q, k, v, &visible.queries, &visible.keys, visible.causal)
        };
        let gradients = (out.clone() * place.tensor(&upstream, q_dims).autodiff())
            .sum()
            .backward();
        let [q, k, v] =
            leaves.map(|leaf| host(leaf.grad(&gradients).expect("a leaf has a gradient")));
        [host(out), q, k, v]
    };
    let cpu = Place {
        name: "flex",
        device: burn::tensor::Device::flex(),
        allowed: 0.0,
    };
    let want = run(&cpu, false);
    let got = run(place, true);
    for (name, (got, want)) in ["out", "dquery", "dkey", "dvalue"]
        .iter()
        .zip(got.iter().zip(&want))
    {
        // One key has a weight of exactly 1: gradients of scores vanish but for rounding.
        let largest = want
            .iter()
            .fold(0f64, |largest, value| largest.max(value.abs()));
        if largest < 1e-5 {
            assert!(
                got.iter().all(|value| value.abs() < 1e-5),
                "{name} on {} should vanish",
                place.name
            );
            continue;
        }
        let error = crate::tolerance::relative_rms(got, want);
        assert!(
            error < 2e-5,
            "{name} on {}: relative RMS {error:e}; {queries} queries, {keys} keys, {heads} heads of {width}, {visible:?}",
            place.name
        );
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
                compare(&place, &visible, (len, len, 2, 32), seed as u64);
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
                compare(&place, &visible, (len, len, 2, width), len as u64);
            }
        }
    }
}

#[test]
fn widths_up_to_the_limit() {
    for place in places() {
        for width in [1, 33, 64, 128] {
            let lengths = Lengths::new(vec![19, 8]);
            let visible = Visible {
                queries: lengths.clone(),
                keys: lengths,
                causal: width % 2 == 0,
            };
            compare(&place, &visible, (19, 19, 2, width), width as u64);
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
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_lengths_and_layout(
        lengths in prop::collection::vec((0u32..40, 0u32..30), 1..4),
        heads in 1usize..4,
        width in prop::sample::select(vec![3usize, 8]),
        seed in 0u64..1000,
    ) {
        let (queries, keys): (Vec<u32>, Vec<u32>) = lengths.into_iter().unzip();
        let (queries, keys) = (Lengths::new(queries), Lengths::new(keys));
        let sizes = (queries.max() + 1, keys.max() + 2, heads, width);
        let visible = Visible { queries, keys, causal: false };
        for place in places() {
            compare(&place, &visible, sizes, seed);
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
