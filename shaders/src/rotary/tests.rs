use burn::tensor::Tensor;
use proptest::prelude::*;

use super::{reference, rotary};
use crate::gradcheck::{places, values};
use crate::tolerance::relative_rms;

/// B, L, H, P, R / 2.
type Sizes = [usize; 5];

/// Query, key and value in f64 loops, rotated by `angles` `[L, R / 2]`.
fn parts([b, l, h, p, half]: Sizes, packed: &[f64], angles: &[f64]) -> [Vec<f64>; 3] {
    let mut parts = [0, 1, 2].map(|_| vec![0.0; b * l * h * p]);
    for row in 0..b * l * h {
        for (part, out) in parts.iter_mut().enumerate() {
            let x = &packed[(row * 3 + part) * p..][..p];
            let y = &mut out[row * p..][..p];
            y.copy_from_slice(x);
            for i in 0..if part < 2 { half } else { 0 } {
                let (sin, cos) = angles[row / h % l * half + i].sin_cos();
                y[i] = x[i] * cos - x[half + i] * sin;
                y[half + i] = x[half + i] * cos + x[i] * sin;
            }
        }
    }
    parts
}

fn check(sizes: Sizes, seed: u64) {
    let [b, l, h, p, half] = sizes;
    let packed = values(b * l * h * 3 * p, 1.0, seed);
    let angles = values(l * half, 3.0, seed + 1);
    let table = |f: fn(f64) -> f64| -> Vec<f64> { angles.iter().map(|&a| f(a)).collect() };
    let (cos, sin) = (table(f64::cos), table(f64::sin));
    let want = parts(sizes, &packed, &angles);
    let upstream = [2, 3, 4].map(|more| values(b * l * h * p, 1.0, seed + more));
    // The transposed of a rotation is the rotation back.
    let gathered: Vec<f64> = (0..b * l * h)
        .flat_map(|row| {
            upstream
                .iter()
                .flat_map(move |up| up[row * p..(row + 1) * p].to_vec())
        })
        .collect();
    let back: Vec<f64> = angles.iter().map(|angle| -angle).collect();
    let back = parts(sizes, &gathered, &back);
    let dpacked: Vec<f64> = (0..b * l * h)
        .flat_map(|row| {
            back.iter()
                .flat_map(move |part| part[row * p..(row + 1) * p].to_vec())
        })
        .collect();
    for place in places() {
        let leaf = place.leaf(&packed, [b, l, h, 3 * p]);
        let (cos, sin) = (place.tensor(&cos, [l, half]), place.tensor(&sin, [l, half]));
        let out = rotary(leaf.clone(), cos.clone(), sin.clone());
        let plain = reference::rotary(place.tensor(&packed, [b, l, h, 3 * p]), cos, sin);
        let mut sum = None;
        for (((part, plain), want), up) in out.into_iter().zip(plain).zip(&want).zip(&upstream) {
            place.assert_close("part", part.clone(), want);
            place.assert_close("part of the plain form", plain, want);
            let weighed = (part * place.tensor(up, [b, l, h, p]).autodiff()).sum();
            sum = Some(match sum {
                Some(sum) => weighed + sum,
                None => weighed,
            });
        }
        let gradients = sum.expect("three parts").backward();
        place.assert_close("dpacked", leaf.grad(&gradients).expect("a leaf"), &dpacked);
    }
}

#[test]
fn parts_and_gradients_match_f64() {
    for (seed, sizes) in [
        [1, 1, 1, 2, 1],
        [2, 5, 3, 8, 1],
        [2, 63, 4, 16, 8],
        [1, 257, 2, 64, 8],
        [3, 65, 12, 64, 16],
    ]
    .into_iter()
    .enumerate()
    {
        check(sizes, 10 * seed as u64);
    }
}

#[test]
fn nothing_rotated_is_taken_apart() {
    check([2, 3, 2, 4, 0], 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_sizes(b in 1usize..3, l in 1usize..30, h in 1usize..5, half in 0usize..6, more in 1usize..6, seed in 0u64..1000) {
        check([b, l, h, 2 * half + more, half], seed);
    }
}

#[test]
fn an_input_outside_of_the_graph_is_turned_too() {
    let packed = values(2 * 5 * 3 * 24, 1.0, 1);
    let angles = values(5 * 2, 3.0, 2);
    for place in places() {
        let turn = |packed: Tensor<4>| {
            let table = place.tensor(&angles, [5, 2]);
            rotary(packed, table.clone().cos(), table.sin())
        };
        let alone = turn(place.tensor(&packed, [2, 5, 3, 24]));
        let constant = turn(place.tensor(&packed, [2, 5, 3, 24]).autodiff());
        for (alone, constant) in alone.into_iter().zip(constant) {
            let want: Vec<f64> = alone.into_data().iter::<f64>().collect();
            place.assert_close("part", constant.inner(), &want);
        }
    }
}

#[test]
fn parts_that_nobody_uses_leave_zeros() {
    let [b, l, h, p, half] = [2, 5, 3, 8, 2];
    let packed = values(b * l * h * 3 * p, 1.0, 1);
    let angles = values(l * half, 3.0, 2);
    for place in places() {
        for used in [vec![0], vec![2], vec![1, 0], vec![]] {
            let gradient = |turn: fn(Tensor<4>, Tensor<2>, Tensor<2>) -> [Tensor<4>; 3]| {
                let leaf = place.leaf(&packed, [b, l, h, 3 * p]);
                let table = place.tensor(&angles, [l, half]).autodiff();
                let parts = turn(leaf.clone(), table.clone().cos(), table.sin());
                // Something that the loss depends on in any case; a part twice, so that its gradient is a sum.
                let mut loss = leaf.clone().sum();
                for &part in &used {
                    let part: Tensor<4> = parts[part].clone();
                    loss =
                        loss + part.clone().square().sum() + (part.clone().detach() * part).sum();
                }
                let gradient = leaf.grad(&loss.backward()).unwrap();
                gradient.into_data().iter::<f64>().collect::<Vec<_>>()
            };
            let want = gradient(reference::rotary);
            let error = relative_rms(&gradient(rotary), &want);
            assert!(
                error <= place.allowed,
                "{used:?} on {}: {error:e}",
                place.name
            );
        }
    }
}
