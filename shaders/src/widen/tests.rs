use burn::tensor::{DType, Int, Tensor, TensorData};

use super::{Half, widen};
use crate::gradcheck::places;

/// What the conversions of the crate `half` give, bit for bit.
fn check(halves: &[u16], half: Half) {
    let want = halves.iter().map(|&bits| match half {
        Half::F16 => half::f16::from_bits(bits).to_f32(),
        Half::BF16 => half::bf16::from_bits(bits).to_f32(),
    });
    let want: Vec<f32> = want.collect();
    // What lies in the last upper half must not matter.
    let word =
        |pair: &[u16]| u32::from(pair[0]) | u32::from(pair.get(1).copied().unwrap_or(0x7bff)) << 16;
    let words: Vec<u32> = halves.chunks(2).map(word).collect();
    for place in places() {
        let data = TensorData::new(words.clone(), [words.len()]);
        let words = Tensor::<1, Int>::from_data(data, (&place.device, DType::U32));
        let got = widen(words, halves.len(), half).into_data();
        let got = got.try_to_vec::<f32>().unwrap();
        assert_eq!(got.len(), want.len());
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
            let (name, bits) = (place.name, halves[i]);
            assert!(
                same,
                "{half:?} {bits:#06x} on {name}: {got}, expected {want}"
            );
        }
    }
}

#[test]
fn every_16_bit_float_comes_out_exactly() {
    // Subnormals, both zeros, infinities and NaN are among them.
    let all: Vec<u16> = (0..=u16::MAX).collect();
    check(&all, Half::F16);
    check(&all, Half::BF16);
}

#[test]
fn odd_lengths_end_where_they_should() {
    let halves: Vec<u16> = (0..40_001u32).map(|i| (i * 7919) as u16).collect();
    for length in [1, 2, 3, 255, 511, 513, 16_383, 16_385, 40_001] {
        check(&halves[..length], Half::F16);
        check(&halves[..length], Half::BF16);
    }
}

#[test]
#[should_panic(expected = "widen: expected 2 words")]
fn too_few_words_are_refused() {
    let place = &places()[0];
    let data = TensorData::new(vec![0u32], [1]);
    let words = Tensor::<1, Int>::from_data(data, (&place.device, DType::U32));
    widen(words, 3, Half::F16);
}
