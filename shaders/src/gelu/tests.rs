use proptest::prelude::*;

use super::gelu;
use crate::gradcheck::{places, values};

/// Φ(x) by the series of erf with terms of one sign: e^(−z²) Σ 2ⁿ z^(2n+1) / (2n+1)!!, z = x/√2.
fn distribution(x: f64) -> f64 {
    let z = x / std::f64::consts::SQRT_2;
    if z.abs() > 6.0 {
        return if x < 0.0 { 0.0 } else { 1.0 };
    }
    let (mut term, mut sum) = (z, z);
    for n in 1..400 {
        term *= 2.0 * z * z / (2.0 * n as f64 + 1.0);
        sum += term;
    }
    0.5 + (-z * z).exp() * sum / std::f64::consts::PI.sqrt()
}

fn derivative(x: f64) -> f64 {
    distribution(x) + x * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

fn check(len: usize, scale: f64, seed: u64) {
    let (x, r) = (values(len, scale, seed), values(len, 1.0, seed + 1));
    let y: Vec<f64> = x.iter().map(|&x| x * distribution(x)).collect();
    let dx: Vec<f64> = x.iter().zip(&r).map(|(&x, r)| r * derivative(x)).collect();
    for place in places() {
        let leaf = place.leaf(&x, [1, len]);
        let out = gelu(leaf.clone());
        place.assert_close("y", out.clone(), &y);
        let gradients = (out * place.tensor(&r, [1, len]).autodiff())
            .sum()
            .backward();
        place.assert_close("dx", leaf.grad(&gradients).unwrap(), &dx);
        // Without a graph the values may be changed in place.
        place.assert_close("y without autodiff", gelu(place.tensor(&x, [len])), &y);
    }
}

#[test]
fn values_and_gradients_match_f64() {
    for len in [1, 7, 63, 64, 65, 257, 70_001] {
        check(len, 4.0, len as u64);
    }
    check(1000, 30.0, 5);
    check(1000, 0.01, 6);
}

#[test]
fn absolute_error_is_below_4e_7_times_the_size() {
    let x: Vec<f64> = (-13_000..=13_000)
        .map(|i| f64::from((f64::from(i) / 1000.0) as f32))
        .collect();
    for place in places() {
        let got: Vec<f64> = gelu(place.tensor(&x, [x.len()]))
            .into_data()
            .iter::<f64>()
            .collect();
        for (&x, got) in x.iter().zip(got) {
            let want = x * distribution(x);
            let error = (got - want).abs();
            assert!(
                error <= 4e-7 * x.abs().max(1.0),
                "{}: gelu({x}) = {got}, expected {want}",
                place.name
            );
        }
    }
}

#[test]
fn what_is_not_finite_passes_as_in_ieee() {
    let x = [f64::NAN, f64::INFINITY, 0.0, -200.0];
    for place in places() {
        let got: Vec<f64> = gelu(place.tensor(&x, [4]))
            .into_data()
            .iter::<f64>()
            .collect();
        // WGSL does not promise anything of NaN.
        assert!(place.name == "wgpu" || got[0].is_nan());
        assert!(place.name == "wgpu" || got[1] == f64::INFINITY);
        assert_eq!(got[2], 0.0);
        assert!(got[3].abs() < 1e-30);
    }
}

#[test]
fn a_tensor_with_a_second_handle_is_left_alone() {
    for place in places() {
        let x = place.tensor(&[1.0, -1.0], [2]);
        let _ = gelu(x.clone());
        place.assert_close("x", x, &[1.0, -1.0]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn any_length(len in 1usize..3000, scale in 0.1f64..8.0, seed in 0u64..1000) {
        check(len, scale, seed);
    }
}
