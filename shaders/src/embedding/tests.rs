use burn::tensor::{DType, Int, Tensor, TensorData};

use super::embedding;
use crate::gradcheck::{Place, places, values};
use crate::sixteen_bit::tests::packed;

fn ids(place: &Place, ids: &[i32], dims: [usize; 2]) -> Tensor<2, Int> {
    let data = TensorData::new(ids.to_vec(), dims);
    Tensor::from_data(data, (&place.device, DType::I32))
}

#[test]
fn rows_of_any_table_come_out_exactly() {
    let wanted = [0, 6, 3, 3, 1, 6, 0, 2];
    for (width, dtype) in [
        (4, DType::F16),
        (12, DType::BF16),
        (260, DType::F16),
        // No multiple of four: widened as a whole.
        (7, DType::F16),
        (6, DType::F32),
    ] {
        // Halves of small whole numbers are exact in 16 bits.
        let table = values(7 * width, 64.0, 3);
        let table: Vec<f64> = table.iter().map(|value| value.round() / 2.0).collect();
        let want = wanted
            .iter()
            .flat_map(|&row| &table[row as usize * width..][..width]);
        let want: Vec<f64> = want.copied().collect();
        for place in places() {
            let table = packed(&place, &table, [7, width], dtype);
            let got = embedding(table, ids(&place, &wanted, [2, 4]));
            assert_eq!((got.dims(), got.dtype()), ([2, 4, width], DType::F32));
            let got = got.into_data().iter::<f64>().collect::<Vec<_>>();
            assert_eq!(got, want, "{dtype:?}, width {width}, on {}", place.name);
        }
    }
}

#[test]
fn ids_of_a_batch_for_training_are_taken_too() {
    let table: Vec<f64> = (0..12).map(f64::from).collect();
    for place in places() {
        let table = packed(&place, &table, [3, 4], DType::F16);
        let wanted = ids(&place, &[2, 0], [1, 2]).to_device(&place.device.clone().autodiff());
        let got = embedding(table, wanted);
        place.assert_close("rows", got, &[8.0, 9.0, 10.0, 11.0, 0.0, 1.0, 2.0, 3.0]);
    }
}
