//! Widening, and tensors of 16 bits for the tests of those who read them.

use burn::tensor::{Bytes, DType, Tensor, TensorData};

use super::widen;
use crate::gradcheck::{Place, places};

/// Values rounded to `dtype`, on a device as a file has them.
pub(crate) fn packed<const D: usize>(
    place: &Place,
    values: &[f64],
    dims: [usize; D],
    dtype: DType,
) -> Tensor<D> {
    let halves = values.iter().map(|&value| match dtype {
        DType::F16 => half::f16::from_f64(value).to_bits(),
        _ => half::bf16::from_f64(value).to_bits(),
    });
    let bytes = match dtype {
        DType::F32 => return place.tensor(values, dims),
        _ => Bytes::from_elems(halves.collect::<Vec<u16>>()),
    };
    let data = TensorData::from_bytes(bytes, dims, dtype);
    Tensor::from_data(data, (&place.device, dtype))
}

/// What the conversions of the crate `half` give, bit for bit.
fn check(halves: &[u16], dtype: DType) {
    let want = halves.iter().map(|&bits| match dtype {
        DType::F16 => half::f16::from_bits(bits).to_f32(),
        _ => half::bf16::from_bits(bits).to_f32(),
    });
    let want: Vec<f32> = want.collect();
    for place in places() {
        let bytes = Bytes::from_elems(halves.to_vec());
        let data = TensorData::from_bytes(bytes, [halves.len()], dtype);
        let packed = Tensor::<1>::from_data(data, (&place.device, dtype));
        let got = widen(packed).into_data();
        let got = got.try_to_vec::<f32>().unwrap();
        assert_eq!(got.len(), want.len());
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let same = got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan();
            let (name, bits) = (place.name, halves[i]);
            assert!(
                same,
                "{dtype:?} {bits:#06x} on {name}: {got}, expected {want}"
            );
        }
    }
}

#[test]
fn every_16_bit_float_comes_out_exactly() {
    // Subnormals, both zeros, infinities and NaN are among them.
    let all: Vec<u16> = (0..=u16::MAX).collect();
    check(&all, DType::F16);
    check(&all, DType::BF16);
}

#[test]
fn odd_lengths_end_where_they_should() {
    let halves: Vec<u16> = (0..40_001u32).map(|i| (i * 7919) as u16).collect();
    for length in [1, 2, 3, 255, 511, 513, 16_383, 16_385, 40_001] {
        check(&halves[..length], DType::F16);
        check(&halves[..length], DType::BF16);
    }
}

#[test]
fn f32_is_left_as_it_is() {
    let place = &places()[0];
    let x = place.tensor(&[1.5, -2.0], [2]);
    place.assert_close("x", widen(x), &[1.5, -2.0]);
}
