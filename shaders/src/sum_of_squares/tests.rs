use super::sum_of_squares;
use crate::gradcheck::{places, values};

#[test]
fn sums_match_f64() {
    for len in [1, 31, 33, 257, 16_384, 16_385, 300_001] {
        let x = values(len, 3.0, len as u64);
        let want: f64 = x.iter().map(|x| x * x).sum();
        for place in places() {
            place.assert_close("sum", sum_of_squares(place.tensor(&x, [1, len])), &[want]);
        }
    }
}
