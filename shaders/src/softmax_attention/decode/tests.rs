use burn::tensor::Tensor;

use proptest::prelude::*;

use super::softmax_attention_step;
use crate::gradcheck::{Place, places, values};
use crate::softmax_attention::reference;
use crate::tolerance::relative_rms;
use crate::{Lengths, softmax_attention};

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Attention of one query in f64; what lies behind `filled` is loud and must not be read.
fn expected(
    data: &[Vec<f64>; 3],
    [batch, capacity, heads, width]: [usize; 4],
    filled: usize,
) -> Vec<f64> {
    let [q, k, v] = data;
    let mut out = vec![0.0; batch * heads * width];
    for b in 0..batch {
        for h in 0..heads {
            let row = (b * heads + h) * width;
            let at = |j: usize| ((b * capacity + j) * heads + h) * width;
            let scores: Vec<f64> = (0..filled)
                .map(|j| {
                    let score: f64 = (0..width).map(|p| q[row + p] * k[at(j) + p]).sum();
                    score / (width as f64).sqrt()
                })
                .collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let total: f64 = weights.iter().sum();
            for (j, weight) in weights.iter().enumerate() {
                for p in 0..width {
                    out[row + p] += weight / total * v[at(j) + p];
                }
            }
        }
    }
    out
}

fn check(place: &Place, sizes: [usize; 4], filled: usize) {
    check_loud(place, sizes, filled, 2.0, 1);
}

/// Query and keys in ±`loudness`.
fn check_loud(place: &Place, sizes: [usize; 4], filled: usize, loudness: f64, seed: u64) {
    let [batch, capacity, heads, width] = sizes;
    let cache = |scale: f64, seed: u64| {
        let mut cache = values(sizes.iter().product(), scale, seed);
        for b in 0..batch {
            let row = |position: usize| (b * capacity + position) * heads * width;
            cache[row(filled)..row(capacity)].fill(1e9);
        }
        cache
    };
    let data = [
        values(batch * heads * width, loudness, seed),
        cache(loudness, seed + 1),
        cache(2.0, seed + 2),
    ];
    let got = softmax_attention_step(
        place.tensor(&data[0], [batch, heads, width]),
        place.tensor(&data[1], sizes),
        place.tensor(&data[2], sizes),
        filled,
    );
    // A score is known to a few units in its last place, which is what a weight is off by.
    let largest_score = loudness * loudness * (width as f64).sqrt();
    let allowed = 2.0 * place.allowed + 4.0 * f64::from(f32::EPSILON) * largest_score;
    let error = relative_rms(&host(got), &expected(&data, sizes, filled));
    assert!(
        error <= allowed,
        "{filled} of a cache of {sizes:?}, loudness {loudness}, on {}: relative RMS {error:e}, allowed {allowed:e}",
        place.name
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_cache_and_loudness(
        (batch, heads, spare) in (1usize..3, 1usize..4, 0usize..5),
        filled in prop::sample::select(vec![1usize, 2, 63, 64, 65, 130, 700]),
        width in prop::sample::select(vec![1usize, 3, 8, 33]),
        loudness in prop::sample::select(vec![1e-3, 1.0, 30.0, 300.0]),
        seed in 0u64..1000,
    ) {
        for place in places() {
            check_loud(&place, [batch, filled + spare, heads, width], filled, loudness, seed);
        }
    }
}

#[test]
fn against_a_loop_in_f64() {
    for place in places() {
        // One part, several parts, parts of more than one position a thread; odd widths.
        for (filled, capacity) in [
            (1, 1),
            (63, 80),
            (64, 64),
            (65, 70),
            (257, 300),
            (2200, 2201),
        ] {
            check(&place, [1, capacity, 2, 32], filled);
        }
        for width in [1, 4, 17, 64, 128] {
            check(&place, [2, 150, 3, width], 130);
        }
    }
}

#[test]
fn the_last_row_of_causal_attention() {
    for place in places() {
        let dims = [2, 100, 3, 16];
        let [q, k, v] = [1, 2, 3]
            .map(|seed| place.tensor::<4>(&values(dims.iter().product(), 1.0, seed), dims));
        let whole = softmax_attention(
            q.clone(),
            k.clone(),
            v.clone(),
            &Lengths::full(2, 100),
            true,
        );
        let last = q.narrow(1, 99, 1).squeeze_dim::<3>(1);
        let got = softmax_attention_step(last, k, v, 100);
        let want = host(whole.narrow(1, 99, 1));
        place.assert_close("last row", got, &want);
    }
}

#[test]
fn an_empty_cache_gives_zeros_and_loud_scores_stay_finite() {
    for place in places() {
        let dims = [1, 90, 2, 8];
        let loud = place.tensor::<4>(&values(90 * 2 * 8, 300.0, 1), dims);
        let query: Tensor<3> = place.tensor(&values(2 * 8, 300.0, 2), [1, 2, 8]);
        let none = softmax_attention_step(query.clone(), loud.clone(), loud.clone(), 0);
        assert_eq!(host(none), vec![0.0; 16], "on {}", place.name);
        let got = host(softmax_attention_step(query, loud.clone(), loud, 90));
        assert!(
            got.iter().all(|value| value.abs() <= 300.1),
            "on {}: {got:?}",
            place.name
        );
    }
}

/// `cargo test --release -p caldera-shaders against_plain -- --ignored --nocapture --test-threads 1`
#[test]
#[ignore = "a measurement"]
fn attention_step_against_plain_operations() {
    for place in places() {
        for filled in [64, 512, 4096] {
            let dims = [1, filled, 8, 64];
            let cache: Tensor<4> = place.tensor(&values(dims.iter().product(), 1.0, 7), dims);
            let query: Tensor<3> = place.tensor(&values(8 * 64, 1.0, 8), [1, 8, 64]);
            let plain = || {
                let query = query.clone().unsqueeze_dim::<4>(1);
                let (one, keys) = (Lengths::full(1, 1), Lengths::full(1, filled));
                reference::attend(query, cache.clone(), cache.clone(), &one, &keys, false)
            };
            let time = |work: &dyn Fn() -> Tensor<4>| {
                (0..12)
                    .map(|_| {
                        let start = std::time::Instant::now();
                        let _ = host(work());
                        start.elapsed().as_secs_f64() * 1e3
                    })
                    .fold(f64::INFINITY, f64::min)
            };
            let step = time(&|| {
                softmax_attention_step(query.clone(), cache.clone(), cache.clone(), filled)
                    .unsqueeze_dim(1)
            });
            let plain = time(&plain);
            println!(
                "attention step, {filled} positions on {}: {step:.3} ms, plain {plain:.3} ms, ratio {:.2}",
                place.name,
                plain / step
            );
        }
    }
}
