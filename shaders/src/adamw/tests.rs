use proptest::prelude::*;

use super::{AdamWStep, adamw_step, reference};
use crate::gradcheck::{places, values};

/// The formula in f64, as PyTorch's documentation writes it.
fn expected(p: &mut [f64], g: &[f64], m: &mut [f64], v: &mut [f64], s: &AdamWStep) {
    let t = s.step as i32;
    for i in 0..p.len() {
        p[i] -= s.lr * s.weight_decay * p[i];
        m[i] = s.beta1 * m[i] + (1.0 - s.beta1) * g[i];
        v[i] = s.beta2 * v[i] + (1.0 - s.beta2) * g[i] * g[i];
        let (m_hat, v_hat) = (
            m[i] / (1.0 - s.beta1.powi(t)),
            v[i] / (1.0 - s.beta2.powi(t)),
        );
        p[i] -= s.lr * m_hat / (v_hat.sqrt() + s.eps);
    }
}

fn check(len: usize, weight_decay: f64, steps: u64, seed: u64) {
    for place in places() {
        let (mut p, mut m, mut v) = (values(len, 1.0, seed), vec![0.0; len], vec![0.0; len]);
        let start = p.clone();
        let mut state = (
            place.tensor(&p, [1, len]),
            place.tensor(&m, [1, len]),
            place.tensor(&v, [1, len]),
        );
        let mut plain = state.clone();
        for step in 1..=steps {
            let s = AdamWStep {
                lr: 1e-2,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay,
                step,
            };
            let g = values(len, 0.1, seed + step);
            let gradient = place.tensor(&g, [1, len]);
            state = adamw_step(state.0, gradient.clone(), state.1, state.2, s);
            plain = reference::adamw_step(plain.0, gradient, plain.1, plain.2, s);
            expected(&mut p, &g, &mut m, &mut v, &s);
        }
        // What moved, not the values themselves: they hardly change.
        let moved: Vec<f64> = p.iter().zip(&start).map(|(p, start)| p - start).collect();
        let start = place.tensor(&start, [1, len]);
        let looser = crate::gradcheck::Place {
            allowed: place.allowed * 5.0,
            ..place
        };
        looser.assert_close("moved", state.0 - start.clone(), &moved);
        looser.assert_close("moved by the reference", plain.0 - start, &moved);
        looser.assert_close("m", state.1, &m);
        looser.assert_close("v", state.2, &v);
    }
}

#[test]
fn steps_match_the_formula_in_f64() {
    for len in [1, 63, 65, 257, 40_001] {
        check(len, 0.01, 3, len as u64);
    }
    check(100, 0.0, 20, 1);
}

#[test]
fn tensors_with_a_second_handle_are_left_alone() {
    let s = AdamWStep {
        lr: 0.1,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        step: 1,
    };
    for place in places() {
        let p = place.tensor(&[1.0, 2.0], [2]);
        let m = place.tensor(&[0.5, 0.5], [2]);
        let _ = adamw_step(p.clone(), p.clone(), m.clone(), m.clone(), s);
        place.assert_close("param", p, &[1.0, 2.0]);
        place.assert_close("m", m, &[0.5, 0.5]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn any_length(len in 1usize..2000, weight_decay in 0.0f64..0.2, seed in 0u64..1000) {
        check(len, weight_decay, 2, seed);
    }
}
