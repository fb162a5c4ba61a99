use proptest::prelude::*;

use super::{reference, reverse_padded};
use crate::cases::check;
use crate::fixture::Case;
use crate::gradcheck::{places, values};
use crate::{Lengths, block_on};

fn expected(x: &[f64], lengths: &[u32], [len, channels]: [usize; 2]) -> Vec<f64> {
    let mut y = vec![0.0; x.len()];
    for (sample, &n) in lengths.iter().enumerate() {
        for t in 0..n as usize {
            let (to, from) = (sample * len + t, sample * len + n as usize - 1 - t);
            y[to * channels..][..channels].copy_from_slice(&x[from * channels..][..channels]);
        }
    }
    y
}

fn run(lengths: Vec<u32>, len: usize, channels: usize, seed: u64) {
    let dims = [lengths.len(), len, channels];
    let x = values(dims.iter().product(), 1.0, seed);
    let upstream = values(x.len(), 1.0, seed + 1);
    let want = expected(&x, &lengths, [len, channels]);
    let dx = expected(&upstream, &lengths, [len, channels]);
    let lengths = Lengths::new(lengths);
    for place in places() {
        let leaf = place.leaf(&x, dims);
        let y = reverse_padded(leaf.clone(), &lengths);
        place.assert_close("y", y.clone(), &want);
        let gradients = (y * place.tensor(&upstream, dims).autodiff())
            .sum()
            .backward();
        place.assert_close("dx", leaf.grad(&gradients).unwrap(), &dx);
        let alone = reverse_padded(place.tensor(&x, dims), &lengths);
        place.assert_close("y of a sole handle", alone, &want);
        let held = place.tensor(&x, dims);
        place.assert_close("y beside x", reverse_padded(held.clone(), &lengths), &want);
        place.assert_close("x", held, &x);
        let plain = reference::reverse_padded(place.tensor(&x, dims), &lengths);
        place.assert_close("y of the plain form", plain, &want);
    }
}

#[test]
fn reference_cases() {
    for place in places() {
        for name in ["tiny", "ragged", "long"] {
            let path = format!("ops/reverse-time/{name}");
            let case = Case::read(&crate::cases::fixtures(), &path).unwrap();
            let report = block_on(check(&case, &place.device)).unwrap();
            assert!(
                report.passed && report.tensors.len() == 2,
                "{path} on {}: {report:#?}",
                place.name
            );
        }
    }
}

#[test]
fn lengths_and_padding() {
    for (seed, len) in [1u32, 63, 64, 65, 257].into_iter().enumerate() {
        run(vec![len, len.div_ceil(2), 0], len as usize, 5, seed as u64);
    }
    run(vec![3, 1], 9, 1, 7);
    // Enough values for several cores.
    run(vec![200, 77], 200, 130, 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn any_lengths(
        lengths in prop::collection::vec(0u32..90, 1..5),
        extra in 1usize..5,
        channels in 1usize..40,
        seed in 0u64..1000,
    ) {
        let len = lengths.iter().copied().max().unwrap_or(0) as usize + extra;
        run(lengths, len, channels, seed);
    }
}
