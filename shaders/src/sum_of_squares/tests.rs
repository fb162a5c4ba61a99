use burn::tensor::{DType, Device, Tensor, TensorData};

use super::sum_of_squares;
use crate::gradcheck::{places, values};

#[test]
fn sums_match_f64() {
    for len in [1, 31, 33, 257, 16_384, 16_385, 300_001] {
        let x = values(len, 3.0, len as u64);
        let want: f64 = x.iter().map(|x| x * x).sum();
        for place in places() {
            place.assert_close("sum", sum_of_squares(place.tensor(&x, [1, len])), &[want]);
            // Columns do not lie side by side.
            let turned = place.tensor(&x, [1, len]).repeat_dim(0, 2).transpose();
            place.assert_close("sum of columns", sum_of_squares(turned), &[2.0 * want]);
        }
    }
}

#[test]
fn sums_are_the_same_on_any_number_of_cores() {
    let x = values(1_000_003, 3.0, 7);
    let bits = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let x = Tensor::<1>::from_data(TensorData::new(x.clone(), [x.len()]), &Device::flex());
            sum_of_squares(x.cast(DType::F32))
                .into_scalar::<f32>()
                .to_bits()
        })
    };
    assert_eq!(bits(1), bits(2));
    assert_eq!(bits(1), bits(5));
}
