use proptest::prelude::*;

use super::gated_rmsnorm;
use crate::block_on;
use crate::fixture::Case;
use crate::gradcheck::{places, values};

const EPS: f64 = 1e-5;

/// y, dx, dz, dweight for an incoming gradient `r`, by loops.
fn expected(x: &[f64], z: &[f64], weight: &[f64], r: &[f64], groups: usize) -> [Vec<f64>; 4] {
    let columns = weight.len();
    let width = columns / groups;
    let zeros = || vec![0.0; x.len()];
    let mut out = [zeros(), zeros(), zeros(), vec![0.0; columns]];
    for at in (0..x.len()).step_by(width) {
        let first = at % columns;
        let s: Vec<f64> = (at..at + width)
            .map(|i| 1.0 / (1.0 + (-z[i]).exp()))
            .collect();
        let g: Vec<f64> = (0..width).map(|i| x[at + i] * z[at + i] * s[i]).collect();
        let mean = g.iter().map(|g| g * g).sum::<f64>() / width as f64;
        let rstd = 1.0 / (mean + EPS).sqrt();
        let product = (0..width)
            .map(|i| r[at + i] * weight[first + i] * g[i])
            .sum::<f64>();
        for i in 0..width {
            out[0][at + i] = g[i] * rstd * weight[first + i];
            let dg =
                r[at + i] * weight[first + i] * rstd - g[i] * product * rstd.powi(3) / width as f64;
            out[1][at + i] = dg * z[at + i] * s[i];
            out[2][at + i] = dg * x[at + i] * s[i] * (1.0 + z[at + i] * (1.0 - s[i]));
            out[3][first + i] += r[at + i] * g[i] * rstd;
        }
    }
    out
}

fn check(sizes: [usize; 4], seed: u64) {
    check_scaled(sizes, [2.0, 4.0], seed, 1.0);
}

/// x and z in ± the two scales; results may lie `slack` times further off.
fn check_scaled(
    [batch, len, groups, width]: [usize; 4],
    [of_x, of_z]: [f64; 2],
    seed: u64,
    slack: f64,
) {
    let dims = [batch, len, groups * width];
    let count = dims.iter().product();
    let (x, z) = (values(count, of_x, seed), values(count, of_z, seed + 1));
    let (weight, r) = (values(dims[2], 1.5, seed + 2), values(count, 1.0, seed + 3));
    let [y, dx, dz, dweight] = expected(&x, &z, &weight, &r, groups);
    for mut place in places() {
        place.allowed *= slack;
        let (x, z) = (place.leaf(&x, dims), place.leaf(&z, dims));
        let w = place.leaf(&weight, [dims[2]]);
        let out = gated_rmsnorm(x.clone(), z.clone(), w.clone(), groups, EPS);
        place.assert_close("y", out.clone(), &y);
        let gradients = (out * place.tensor(&r, dims).autodiff()).sum().backward();
        place.assert_close("dx", x.grad(&gradients).unwrap(), &dx);
        place.assert_close("dz", z.grad(&gradients).unwrap(), &dz);
        place.assert_close("dweight", w.grad(&gradients).unwrap(), &dweight);
    }
}

#[test]
fn reference_cases() {
    for place in places() {
        for name in ["full", "full-wide", "grouped", "grouped-long"] {
            let path = format!("ops/gated-rmsnorm/{name}");
            let case = Case::read(&crate::cases::fixtures(), &path).unwrap();
            let report = block_on(crate::cases::check(&case, &place.device)).unwrap();
            assert!(
                report.passed && report.tensors.len() == 4,
                "{path} on {}: {report:#?}",
                place.name
            );
        }
    }
}

#[test]
fn values_and_gradients_match_f64() {
    for dims in [
        [1, 1, 1, 5],
        [1, 63, 2, 33],
        [2, 65, 1, 64],
        [1, 257, 3, 17],
        [2, 9, 1, 384],
    ] {
        check(dims, dims.iter().sum::<usize>() as u64);
    }
}

#[test]
fn closed_and_open_gates_give_numbers() {
    let z = [-1e4, -100.0, 1e4, 100.0, -0.0, 0.0];
    for place in places() {
        for scale in [1.0, 0.0] {
            let x = place.leaf(&[1.0, -2.0, scale, scale, 3.0, -1.0], [1, 2, 3]);
            let z = place.leaf(&z.map(|z| z * scale), [1, 2, 3]);
            let w = place.leaf(&[1.0, 2.0, 3.0], [3]);
            let y = gated_rmsnorm(x.clone(), z.clone(), w.clone(), 1, EPS);
            let gradients = y.clone().sum().backward();
            let found = [
                y.inner(),
                x.grad(&gradients).unwrap(),
                z.grad(&gradients).unwrap(),
            ];
            for tensor in found {
                let data = tensor.into_data();
                assert!(
                    data.iter::<f64>().all(f64::is_finite),
                    "{data} on {}",
                    place.name
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn any_size(batch in 1usize..3, len in 1usize..70, groups in 1usize..4, width in 2usize..90, seed in 0u64..1000) {
        check([batch, len, groups, width], seed);
    }
    #[test]
    fn extreme_inputs_and_gates_match_f64(
        (batch, len, groups, width) in (1usize..3, 1usize..20, 1usize..3, 2usize..40),
        of_x in prop::sample::select(vec![1e-6, 1.0, 1e6, 1e15]),
        of_z in prop::sample::select(vec![1e-6, 1.0, 100.0, 1e4]),
        seed in 0u64..1000,
    ) {
        prop_assume!(of_x * of_z < 1e18);
        // With few gates open the gradient is a difference of what is almost equal.
        check_scaled([batch, len, groups, width], [of_x, of_z], seed, 10.0);
    }
}
