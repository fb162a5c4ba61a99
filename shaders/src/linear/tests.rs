use burn::tensor::DType;
use proptest::prelude::*;

use super::{Product, linear, select};
use crate::gradcheck::{places, values};
use crate::sixteen_bit::tests::packed;

/// c = a b for `[m, k]` by `[k, n]`.
fn product(
    a: impl Fn(usize, usize) -> f64,
    b: impl Fn(usize, usize) -> f64,
    [m, n, k]: [usize; 3],
) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            c[i * n + j] = (0..k).map(|d| a(i, d) * b(d, j)).sum();
        }
    }
    c
}

fn check(rows: usize, width_in: usize, width_out: usize, biased: bool, seed: u64) {
    let (x, weight) = (
        values(rows * width_in, 1.0, seed),
        values(width_out * width_in, 1.0, seed + 1),
    );
    let (bias, r) = (
        values(width_out, 1.0, seed + 2),
        values(rows * width_out, 1.0, seed + 3),
    );
    let y: Vec<f64> = product(
        |i, d| x[i * width_in + d],
        |d, j| weight[j * width_in + d],
        [rows, width_out, width_in],
    )
    .iter()
    .enumerate()
    .map(|(i, y)| if biased { y + bias[i % width_out] } else { *y })
    .collect();
    let dx = product(
        |i, d| r[i * width_out + d],
        |d, j| weight[d * width_in + j],
        [rows, width_in, width_out],
    );
    let dweight = product(
        |i, d| r[d * width_out + i],
        |d, j| x[d * width_in + j],
        [width_out, width_in, rows],
    );
    let dbias: Vec<f64> = (0..width_out)
        .map(|j| (0..rows).map(|i| r[i * width_out + j]).sum())
        .collect();
    for place in places() {
        let leaf = place.leaf(&x, [1, rows, width_in]);
        let w = place.leaf(&weight, [width_out, width_in]);
        let b = biased.then(|| place.leaf(&bias, [width_out]));
        let out = linear(leaf.clone(), w.clone(), b.clone());
        assert_eq!(out.dims(), [1, rows, width_out]);
        place.assert_close("y", out.clone(), &y);
        let gradients = (out * place.tensor(&r, [1, rows, width_out]).autodiff())
            .sum()
            .backward();
        place.assert_close("dx", leaf.grad(&gradients).unwrap(), &dx);
        place.assert_close("dweight", w.grad(&gradients).unwrap(), &dweight);
        if let Some(b) = b {
            place.assert_close("dbias", b.grad(&gradients).unwrap(), &dbias);
        }
    }
}

#[test]
fn values_and_gradients_match_f64() {
    for (i, (rows, width_in, width_out)) in [
        (1, 1, 1),
        (63, 65, 257),
        (65, 63, 64),
        (257, 33, 65),
        (64, 64, 64),
        (130, 48, 200),
        (4, 384, 2),
        (32, 100, 70),
    ]
    .into_iter()
    .enumerate()
    {
        check(rows, width_in, width_out, i % 2 == 0, i as u64);
        check(rows, width_in, width_out, i % 2 == 1, i as u64);
    }
}

#[test]
fn a_transposed_input_is_read_in_its_own_order() {
    let (x, weight) = (values(6 * 4, 1.0, 1), values(3 * 4, 1.0, 2));
    // Stored [4, 6], used as [6, 4].
    let want = product(|i, d| x[d * 6 + i], |d, j| weight[j * 4 + d], [6, 3, 4]);
    for place in places() {
        let out = linear(
            place.tensor(&x, [4, 6]).transpose(),
            place.tensor(&weight, [3, 4]),
            None,
        );
        place.assert_close("y", out, &want);
    }
}

#[test]
fn frozen_parameters_leave_the_gradient_of_x() {
    let (x, weight, r) = (values(20, 1.0, 1), values(15, 1.0, 2), values(12, 1.0, 3));
    let want = product(|i, d| r[i * 3 + d], |d, j| weight[d * 5 + j], [4, 5, 3]);
    for place in places() {
        let leaf = place.leaf(&x, [4, 5]);
        let out = linear(leaf.clone(), place.tensor(&weight, [3, 5]).autodiff(), None);
        let gradients = (out * place.tensor(&r, [4, 3]).autodiff()).sum().backward();
        place.assert_close("dx", leaf.grad(&gradients).unwrap(), &want);
    }
}

#[test]
fn few_rows_or_columns_have_products_of_their_own() {
    assert_eq!(select([4, 384, 384], true), Product::Dots);
    assert_eq!(select([2048, 2, 384], true), Product::Dots);
    assert_eq!(select([2048, 2, 385], true), Product::Short);
    assert_eq!(select([2, 384, 2048], false), Product::Short);
    // Of more, the environment may take another.
    let many = select([2048, 1536, 384], true);
    assert!(
        many == Product::forced().unwrap_or(Product::Burn),
        "{many:?}"
    );
}

/// What `select` passes over is tested too, in both orders of both operands.
fn check_products([m, n, k]: [usize; 3], a_transposed: bool, b_transposed: bool, biased: bool) {
    use super::launch::{Operand, multiply};
    use burn::tensor::Tensor;
    use burn_cubecl::CubeBackend;
    let Some(place) = places().into_iter().find(|place| place.name == "wgpu") else {
        return;
    };
    let (a, b, bias) = (
        values(m * k, 1.0, 1),
        values(k * n, 1.0, 2),
        values(n, 1.0, 3),
    );
    let at_a = |i: usize, d: usize| a[if a_transposed { d * m + i } else { i * k + d }];
    let at_b = |d: usize, j: usize| b[if b_transposed { j * k + d } else { d * n + j }];
    let want: Vec<f64> = product(at_a, at_b, [m, n, k])
        .iter()
        .enumerate()
        .map(|(i, c)| if biased { c + bias[i % n] } else { *c })
        .collect();
    let cube = |values: &[f64]| {
        let tensor = place.tensor(values, [values.len()]);
        tensor.try_into_primitive::<CubeBackend>().unwrap()
    };
    let along_depth = !a_transposed && b_transposed;
    let dots = m.min(n) <= 8 && along_depth && k.is_multiple_of(4);
    let kinds = [Product::Tiled, Product::Short, Product::Burn];
    for kind in kinds.into_iter().chain(dots.then_some(Product::Dots)) {
        let got = multiply(
            kind,
            Operand {
                tensor: cube(&a),
                transposed: a_transposed,
            },
            Operand {
                tensor: cube(&b),
                transposed: b_transposed,
            },
            biased.then(|| cube(&bias)),
            [m, n, k],
        );
        let what = format!("{kind:?} {m} x {n} x {k}, {a_transposed} {b_transposed} {biased}");
        place.assert_close(
            &what,
            Tensor::<2>::from_primitive::<CubeBackend>(got),
            &want,
        );
    }
}

#[test]
fn every_product_gives_the_same() {
    for (a_transposed, b_transposed) in [(false, false), (false, true), (true, false), (true, true)]
    {
        for (i, size) in [
            [1, 1, 1],
            [63, 65, 257],
            [257, 1, 63],
            [70, 130, 16],
            [1, 65, 64],
            [8, 21, 36],
            [100, 3, 4],
            [64, 64, 32],
        ]
        .into_iter()
        .enumerate()
        {
            check_products(size, a_transposed, b_transposed, i % 2 == 0);
        }
        check_products([70, 65, 37], a_transposed, b_transposed, false);
    }
}

/// `cargo test --release -p caldera-shaders products_on_the_gpu -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn products_on_the_gpu() {
    use super::launch::{Operand, multiply};
    use burn::tensor::Tensor;
    use std::time::Instant;
    let Some(place) = places().into_iter().find(|place| place.name == "wgpu") else {
        return;
    };
    crate::launch::poison_fresh_buffers(false);
    // Forward, dX and dW of [rows, 384] by [384, 384] and of a classifier.
    for ([m, n, k], a_transposed, b_transposed) in [
        ([512, 384, 384], false, true),
        ([512, 384, 384], false, false),
        ([384, 384, 512], true, false),
        ([512, 1536, 384], false, true),
        ([32, 384, 384], false, true),
        ([4, 2, 384], false, true),
        ([1, 1536, 384], false, true),
        ([2048, 2, 384], false, true),
    ] {
        let (a, b) = (values(m * k, 1.0, 1), values(k * n, 1.0, 2));
        let (a, b) = (place.tensor(&a, [m * k]), place.tensor(&b, [k * n]));
        let mut line = format!("{m} x {n} x {k} transposed {a_transposed} {b_transposed}:");
        let mut best = [f64::INFINITY; 5];
        let halves = packed(&place, &values(k * n, 1.0, 2), [n, k], DType::F16);
        for run in 0..4 {
            for (i, kind) in [Product::Tiled, Product::Short, Product::Burn, Product::Dots]
                .into_iter()
                .enumerate()
            {
                // Small tiles on a large matrix take minutes on a software adapter.
                if kind == Product::Short && m * n > 32 * 384
                    || kind == Product::Dots && select([m, n, k], b_transposed) != kind
                {
                    continue;
                }
                let cube = |tensor: &Tensor<1>| {
                    tensor
                        .clone()
                        .try_into_primitive::<burn_cubecl::CubeBackend>()
                        .unwrap()
                };
                let start = Instant::now();
                let got = multiply(
                    kind,
                    Operand {
                        tensor: cube(&a),
                        transposed: a_transposed,
                    },
                    Operand {
                        tensor: cube(&b),
                        transposed: b_transposed,
                    },
                    None,
                    [m, n, k],
                );
                let got = Tensor::<2>::from_primitive::<burn_cubecl::CubeBackend>(got);
                // Reading data is lazy until its values are asked for.
                drop(got.into_data().try_to_vec::<f32>());
                if run > 0 {
                    best[i] = best[i].min(start.elapsed().as_secs_f64() * 1e3);
                }
            }
            if b_transposed {
                let x = a.clone().reshape([m, k]);
                let start = Instant::now();
                drop(
                    linear(x, halves.clone(), None)
                        .into_data()
                        .try_to_vec::<f32>(),
                );
                if run > 0 {
                    best[4] = best[4].min(start.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        for (kind, time) in ["tiled", "short", "Burn", "dots", "16-bit"]
            .into_iter()
            .zip(best)
        {
            line += &format!(" {kind} {time:.2} ms");
        }
        println!("{line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn any_size(rows in 1usize..100, width_in in 1usize..100, width_out in 1usize..100, biased: bool, seed in 0u64..1000) {
        check(rows, width_in, width_out, biased, seed);
    }
}

/// x Wᵀ + b with a weight of 16-bit floats, against f64 on the rounded weight.
fn check_packed([rows, width_in, width_out]: [usize; 3], dtype: DType, biased: bool) {
    // Sixteenths, exact in 16 bits.
    let rounded = |values: Vec<f64>| -> Vec<f64> {
        let values = values.into_iter();
        values.map(|value| (value * 16.0).round() / 16.0).collect()
    };
    let (x, bias) = (values(rows * width_in, 1.0, 1), values(width_out, 1.0, 3));
    let weight = rounded(values(width_out * width_in, 4.0, 2));
    let y = product(
        |i, d| x[i * width_in + d],
        |d, j| weight[j * width_in + d],
        [rows, width_out, width_in],
    );
    let added = |i: usize| if biased { bias[i % width_out] } else { 0.0 };
    let y: Vec<f64> = y.iter().enumerate().map(|(i, y)| y + added(i)).collect();
    for place in places() {
        let w = packed(&place, &weight, [width_out, width_in], dtype);
        let b = biased.then(|| place.tensor(&bias, [width_out]));
        let out = linear(place.tensor(&x, [rows, width_in]), w, b);
        let what = format!("{dtype:?} {rows} x {width_in} to {width_out}");
        place.assert_close(&what, out, &y);
    }
}

#[test]
fn a_weight_of_16_bits_is_unpacked_inside_the_product() {
    for (i, size) in [
        // Few rows, few columns, tiles of 32 and 64, a depth that is no multiple of a step.
        [1, 384, 70],
        [8, 36, 21],
        [130, 64, 2],
        [30, 48, 50],
        [70, 100, 130],
        [257, 4, 65],
        // Widened: the depth is no multiple of four.
        [5, 6, 7],
        [40, 33, 40],
    ]
    .into_iter()
    .enumerate()
    {
        for dtype in [DType::F16, DType::BF16] {
            check_packed(size, dtype, i % 2 == 0);
        }
    }
}

#[test]
fn what_is_subnormal_in_16_bits_is_off_by_less_than_its_own_size() {
    let weight: Vec<f64> = (0..64).map(|i| f64::from(i - 32) * 2e-6).collect();
    for place in places() {
        let w = packed(&place, &weight, [1, 64], DType::F16);
        let x = place.tensor(&[1.0; 64], [1, 64]);
        let got: f64 = linear(x, w, None).into_scalar::<f32>().into();
        let want = -32.0 * 2e-6;
        assert!(
            (got - want).abs() < 7e-5,
            "{}: {got}, expected {want}",
            place.name
        );
    }
}

#[test]
fn a_weight_of_16_bits_passes_the_gradient_on_to_x() {
    let (x, r) = (values(32, 1.0, 1), values(12, 1.0, 3));
    let weight: Vec<f64> = (0..24).map(|i| f64::from(i % 7) / 8.0).collect();
    let want = product(|i, d| r[i * 3 + d], |d, j| weight[d * 8 + j], [4, 8, 3]);
    for place in places() {
        let leaf = place.leaf(&x, [4, 8]);
        let out = linear(
            leaf.clone(),
            packed(&place, &weight, [3, 8], DType::F16),
            None,
        );
        let gradients = (out * place.tensor(&r, [4, 3]).autodiff()).sum().backward();
        place.assert_close("dx", leaf.grad(&gradients).unwrap(), &want);
    }
}
