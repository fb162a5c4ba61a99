use burn::tensor::Tensor;
use proptest::prelude::*;

use super::layer_norm;
use crate::gradcheck::{places, values};

const EPS: f64 = 1e-12;

/// y, dx, dweight, dbias for an incoming gradient `r`, by loops.
fn expected(x: &[f64], weight: &[f64], bias: &[f64], r: &[f64], eps: f64) -> [Vec<f64>; 4] {
    let width = weight.len();
    let n = width as f64;
    let mut out = [
        vec![0.0; x.len()],
        vec![0.0; x.len()],
        vec![0.0; width],
        vec![0.0; width],
    ];
    for row in 0..x.len() / width {
        let at = row * width;
        let mean = x[at..at + width].iter().sum::<f64>() / n;
        let variance = x[at..at + width]
            .iter()
            .map(|x| (x - mean).powi(2))
            .sum::<f64>()
            / n;
        let rstd = 1.0 / (variance + eps).sqrt();
        let normed: Vec<f64> = x[at..at + width]
            .iter()
            .map(|x| (x - mean) * rstd)
            .collect();
        let g: Vec<f64> = (0..width).map(|i| r[at + i] * weight[i]).collect();
        let mean_g = g.iter().sum::<f64>() / n;
        let mean_product = g.iter().zip(&normed).map(|(g, x)| g * x).sum::<f64>() / n;
        for i in 0..width {
            out[0][at + i] = normed[i] * weight[i] + bias[i];
            out[1][at + i] = rstd * (g[i] - mean_g - normed[i] * mean_product);
            out[2][i] += r[at + i] * normed[i];
            out[3][i] += r[at + i];
        }
    }
    out
}

fn check(rows: usize, width: usize, offset: f64, seed: u64) {
    let eps = if width == 1 { 1e-5 } else { EPS };
    let x: Vec<f64> = values(rows * width, 2.0, seed)
        .iter()
        .map(|x| f64::from((x + offset) as f32))
        .collect();
    let (weight, bias) = (values(width, 1.5, seed + 1), values(width, 1.0, seed + 2));
    let r = values(rows * width, 1.0, seed + 3);
    let [y, dx, dweight, dbias] = expected(&x, &weight, &bias, &r, eps);
    for place in places() {
        let leaf = place.leaf(&x, [rows, width]);
        let (w, b) = (place.leaf(&weight, [width]), place.leaf(&bias, [width]));
        let out = layer_norm(leaf.clone(), w.clone(), b.clone(), eps);
        place.assert_close("y", out.clone(), &y);
        let gradients = (out * place.tensor(&r, [rows, width]).autodiff())
            .sum()
            .backward();
        let found: Tensor<2> = leaf.grad(&gradients).unwrap();
        if width == 1 {
            // All rows are constant: the gradient vanishes.
            assert!(found.abs().max().into_scalar::<f32>() < 1e-3);
        } else {
            place.assert_close("dx", found, &dx);
            place.assert_close("dweight", w.grad(&gradients).unwrap(), &dweight);
        }
        place.assert_close("dbias", b.grad(&gradients).unwrap(), &dbias);
    }
}

#[test]
fn values_and_gradients_match_f64() {
    for (rows, width) in [
        (1, 5),
        (3, 63),
        (65, 64),
        (257, 65),
        (33, 257),
        (130, 384),
        (1, 1),
    ] {
        check(rows, width, 0.0, (rows * width) as u64);
    }
}

#[test]
fn a_large_mean_does_not_cancel() {
    check(40, 100, 8.0, 3);
}

#[test]
fn leading_dimensions_fold_into_rows() {
    let x = values(2 * 3 * 5, 1.0, 1);
    let (weight, bias) = (values(5, 1.0, 2), values(5, 1.0, 3));
    let [y, ..] = expected(&x, &weight, &bias, &x, EPS);
    for place in places() {
        let out = layer_norm(
            place.tensor(&x, [2, 3, 5]),
            place.tensor(&weight, [5]),
            place.tensor(&bias, [5]),
            EPS,
        );
        assert_eq!(out.dims(), [2, 3, 5]);
        place.assert_close("y", out, &y);
    }
}

#[test]
fn a_frozen_weight_leaves_the_gradient_of_x() {
    let (x, weight, bias, r) = (
        values(20, 1.0, 1),
        values(5, 1.0, 2),
        values(5, 1.0, 3),
        values(20, 1.0, 4),
    );
    let [_, dx, ..] = expected(&x, &weight, &bias, &r, EPS);
    for place in places() {
        let leaf = place.leaf(&x, [4, 5]);
        let (w, b) = (
            place.tensor(&weight, [5]).autodiff(),
            place.tensor(&bias, [5]).autodiff(),
        );
        let gradients = (layer_norm(leaf.clone(), w, b, EPS) * place.tensor(&r, [4, 5]).autodiff())
            .sum()
            .backward();
        place.assert_close("dx", leaf.grad(&gradients).unwrap(), &dx);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn any_size(rows in 1usize..150, width in 6usize..200, seed in 0u64..1000) {
        check(rows, width, 0.0, seed);
    }
}
