//! Measurements, for whoever asks for them.

use super::super::{SsdInput, SsdOutput, reference, ssd};
use super::{Data, Dims};
use crate::gradcheck::places;

/// `cargo test --release -p caldera-shaders ssd_against_plain -- --ignored --nocapture --test-threads 1`
#[test]
#[ignore = "a measurement"]
fn ssd_against_plain_operations() {
    for place in places() {
        let sizes: &[Dims] = match place.name {
            "flex" => &[
                [1, 1024, 4, 64, 1, 128],
                [1, 4096, 4, 64, 1, 128],
                [1, 16384, 4, 64, 1, 128],
                [4, 512, 12, 64, 1, 64],
                [2, 512, 8, 16, 1, 16],
            ],
            _ => &[
                [1, 256, 4, 64, 1, 128],
                [1, 1024, 4, 64, 1, 128],
                [1, 256, 4, 16, 1, 16],
            ],
        };
        for &dims in sizes {
            let data = Data::new(dims, 2.0, 2.0, 1);
            let time = |f: fn(SsdInput) -> SsdOutput, backward: bool| {
                let input = data.input(&place);
                let _ = input.d.clone().inner().into_data();
                let start = std::time::Instant::now();
                let y = f(input.clone()).y;
                if backward {
                    let grads = y.sum().backward();
                    let _ = input.dt.grad(&grads).unwrap().sum().into_data();
                    let _ = input.b.grad(&grads).unwrap().sum().into_data();
                } else {
                    // Every value is looked at: a time without the values is none.
                    let values = y.inner().into_data();
                    assert!(
                        values
                            .iter::<f64>()
                            .all(|value| value.is_finite() && value != 0.0)
                    );
                }
                start.elapsed().as_secs_f64() * 1e3
            };
            for backward in [false, true] {
                let (mut fused, mut plain) = (f64::INFINITY, f64::INFINITY);
                for _ in 0..3 {
                    fused = fused.min(time(ssd, backward));
                    plain = plain.min(time(reference::ssd, backward));
                }
                println!(
                    "ssd {dims:?} on {}, {}: {fused:.2} ms, plain {plain:.2} ms, ratio {:.2}",
                    place.name,
                    if backward {
                        "forward and backward"
                    } else {
                        "forward"
                    },
                    plain / fused
                );
            }
        }
    }
}
