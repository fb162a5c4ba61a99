use burn::tensor::Tensor;
use proptest::prelude::*;

use super::{check_lengths, linformer_attention, project, reference};
use crate::cases::check;
use crate::fixture::Case;
use crate::gradcheck::{Place, places, values};
use crate::{Lengths, ShapeError, block_on};

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// The projection and its gradients at `place` beside those of the reference on the CPU.
fn compare(
    place: &Place,
    lengths: &Lengths,
    [len, heads, width]: [usize; 3],
    [max_len, slots]: [usize; 2],
    seed: u64,
) {
    let batch = lengths.batch();
    let (dims, out_dims) = ([batch, len, heads, width], [batch, slots, heads, width]);
    let input = values(dims.iter().product(), 2.0, seed);
    let projection = values(max_len * slots, 1.0, seed + 1);
    let upstream = values(out_dims.iter().product(), 1.0, seed + 2);
    let run = |place: &Place, fused: bool| {
        let (x, e) = (
            place.leaf(&input, dims),
            place.leaf(&projection, [max_len, slots]),
        );
        let out = match fused {
            true => project(x.clone(), e.clone(), lengths),
            false => reference::project(x.clone(), e.clone(), lengths),
        };
        let gradients = (out.clone() * place.tensor(&upstream, out_dims).autodiff())
            .sum()
            .backward();
        [
            host(out),
            host(x.grad(&gradients).unwrap()),
            host(e.grad(&gradients).unwrap()),
        ]
    };
    let cpu = Place {
        name: "flex",
        device: burn::tensor::Device::flex(),
        allowed: 0.0,
    };
    let want = run(&cpu, false);
    let got = run(place, true);
    for (name, (got, want)) in ["out", "dinput", "dprojection"]
        .iter()
        .zip(got.iter().zip(&want))
    {
        let error = crate::tolerance::relative_rms(got, want);
        assert!(
            error < 5e-6,
            "{name} on {}: relative RMS {error:e}; L {len}, k {slots}, {lengths:?}",
            place.name
        );
    }
}

#[test]
fn reference_cases() {
    for place in places() {
        for name in ["tiny", "ragged", "wide", "long"] {
            let path = format!("ops/linformer-attention/{name}");
            let case = Case::read(&crate::cases::fixtures(), &path).unwrap();
            let report = block_on(check(&case, &place.device)).unwrap();
            assert!(
                report.passed && report.tensors.len() == 6,
                "{path} on {}: {report:#?}",
                place.name
            );
        }
    }
}

#[test]
fn lengths_round_the_tiles() {
    for place in places() {
        for (seed, len) in [1usize, 63, 64, 65, 257].into_iter().enumerate() {
            let lengths = Lengths::new(vec![len as u32, len.div_ceil(2) as u32]);
            compare(&place, &lengths, [len, 2, 17], [len + 5, 70], seed as u64);
        }
    }
}

#[test]
fn a_batch_may_be_padded_beyond_the_projection() {
    for place in places() {
        compare(&place, &Lengths::new(vec![5, 2]), [9, 1, 4], [6, 3], 1);
    }
}

#[test]
fn too_long_a_sample_is_an_error_that_names_it() {
    let error = check_lengths(&Lengths::new(vec![3, 9]), 8).unwrap_err();
    assert_eq!(
        error,
        ShapeError::TooLong {
            sample: 1,
            length: 9,
            max_len: 8
        }
    );
    assert_eq!(check_lengths(&Lengths::new(vec![3, 8]), 8), Ok(()));
}

#[test]
fn a_sample_without_positions_gives_zeros() {
    for place in places() {
        let x = || place.tensor(&values(2 * 4 * 2 * 8, 1.0, 1), [2, 4, 2, 8]);
        let e = || place.tensor(&values(6 * 3, 1.0, 2), [6, 3]);
        let out = host(linformer_attention(
            x(),
            x(),
            x(),
            e(),
            e(),
            &Lengths::new(vec![0, 2]),
        ));
        assert!(
            out.iter().all(|value| value.is_finite()),
            "on {}",
            place.name
        );
        assert!(
            out[..4 * 2 * 8].iter().all(|&value| value == 0.0),
            "on {}",
            place.name
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_lengths(
        lengths in prop::collection::vec(1u32..80, 1..4),
        extra in 0usize..4,
        heads in 1usize..3,
        width in 1usize..12,
        slots in 1usize..80,
        seed in 0u64..1000,
    ) {
        let lengths = Lengths::new(lengths);
        let len = lengths.max() + extra;
        for place in places() {
            compare(&place, &lengths, [len, heads, width], [lengths.max() + 3, slots], seed);
        }
    }
}
