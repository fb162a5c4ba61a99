use burn::tensor::{Tensor, TensorData};
use proptest::prelude::*;

use super::{conv1d, conv1d_frames, reference};
use crate::gradcheck::{places, values};

/// N, L, C, G, W, D, stride.
type Shape = [usize; 7];

/// Loops in f64: y, and for dY the gradients of x, weight and bias.
fn by_hand([n, l, c, g, w, d, stride]: Shape, [x, weight, bias, dy]: [&[f64]; 4]) -> [Vec<f64>; 4] {
    let t = conv1d_frames(l, w, stride);
    let (mut y, mut dx) = (vec![0.0; n * t * d], vec![0.0; x.len()]);
    let (mut dweight, mut dbias) = (vec![0.0; weight.len()], vec![0.0; g * d]);
    for sample in 0..n {
        let group = sample % g;
        for frame in 0..t {
            for channel in 0..d {
                let at = (sample * t + frame) * d + channel;
                y[at] = bias[group * d + channel];
                dbias[group * d + channel] += dy[at];
                for tap in 0..w {
                    for input in 0..c {
                        let place = (sample * l + frame * stride + tap) * c + input;
                        let entry = ((group * w + tap) * c + input) * d + channel;
                        y[at] += x[place] * weight[entry];
                        dx[place] += dy[at] * weight[entry];
                        dweight[entry] += dy[at] * x[place];
                    }
                }
            }
        }
    }
    [y, dx, dweight, dbias]
}

fn check(shape: Shape, biased: bool, seed: u64) {
    let [n, l, c, g, w, d, stride] = shape;
    let t = conv1d_frames(l, w, stride);
    let (x, weight) = (
        values(n * l * c, 1.0, seed),
        values(g * w * c * d, 1.0, seed + 1),
    );
    let bias = match biased {
        true => values(g * d, 1.0, seed + 2),
        false => vec![0.0; g * d],
    };
    let dy = values(n * t * d, 1.0, seed + 3);
    let [y, dx, dweight, dbias] = by_hand(shape, [&x, &weight, &bias, &dy]);
    for place in places() {
        let leaf = place.leaf(&x, [n, l, c]);
        let matrix = place.leaf(&weight, [g, w * c, d]);
        let row = biased.then(|| place.leaf(&bias, [g, d]));
        let out = conv1d(leaf.clone(), matrix.clone(), row.clone(), stride);
        assert_eq!(out.dims(), [n, t, d]);
        place.assert_close("y", out.clone(), &y);
        let gradients = (out * place.tensor(&dy, [n, t, d]).autodiff())
            .sum()
            .backward();
        place.assert_close("dx", leaf.grad(&gradients).unwrap(), &dx);
        place.assert_close("dweight", matrix.grad(&gradients).unwrap(), &dweight);
        if let Some(row) = row {
            place.assert_close("dbias", row.grad(&gradients).unwrap(), &dbias);
        }
    }
}

#[test]
fn values_and_gradients_match_f64() {
    for (i, shape) in [
        [1, 1, 1, 1, 1, 1, 1],
        [2, 63, 1, 1, 10, 17, 5],
        [2, 65, 1, 2, 10, 70, 5], // a matrix a sample
        [3, 64, 8, 1, 3, 9, 2],
        [1, 257, 5, 1, 2, 65, 2],
        [8, 37, 6, 4, 16, 6, 1],
        [4, 40, 3, 2, 4, 5, 7], // a stride beyond the width
        [2, 130, 4, 2, 33, 4, 1],
    ]
    .into_iter()
    .enumerate()
    {
        check(shape, i % 2 == 0, 40 + i as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_shape_matches_f64(
        (groups, per_group) in (1usize..4, 1usize..3), (c, d) in (1usize..6, 1usize..9), w in 1usize..7,
        stride in 1usize..5, more in 0usize..20, biased: bool, seed in 0u64..1000,
    ) {
        check([groups * per_group, w + more, c, groups, w, d, stride], biased, seed);
    }
}

#[test]
fn burns_own_convolution_agrees() {
    let [n, l, c, g, w, d, stride] = [4, 50, 6, 2, 5, 8, 3];
    let (x, weight) = (values(n * l * c, 1.0, 1), values(g * w * c * d, 1.0, 2));
    let bias = values(g * d, 1.0, 3);
    for place in places() {
        let x = place.tensor(&x, [n, l, c]);
        let weight = place.tensor(&weight, [g, w * c, d]);
        let bias = Some(place.tensor(&bias, [g, d]));
        let want = reference::conv1d(x.clone(), weight.clone(), bias.clone(), stride);
        let want: Vec<f64> = want.into_data().iter::<f64>().collect();
        place.assert_close("y", conv1d(x, weight, bias, stride), &want);
    }
}

#[test]
#[should_panic(expected = "W at most L")]
fn windows_longer_than_the_sample_are_refused() {
    let device = burn::tensor::Device::flex();
    let zeros = |dims: [usize; 3]| {
        let count = dims.iter().product();
        Tensor::<3>::from_data(TensorData::new(vec![0f32; count], dims), &device)
    };
    conv1d(zeros([1, 4, 1]), zeros([1, 5, 2]), None, 1);
}

#[test]
fn frames_of_a_length() {
    assert_eq!(conv1d_frames(400, 10, 5), 79);
    assert_eq!(conv1d_frames(9, 10, 5), 0);
    assert_eq!(conv1d_frames(10, 10, 5), 1);
}
