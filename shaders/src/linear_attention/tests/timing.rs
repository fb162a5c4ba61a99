//! Measurements, for whoever asks for them.

use burn::tensor::Tensor;

use super::super::{linear_attention, reference, step};
use super::host;
use crate::gradcheck::{places, values};
use crate::{Lengths, linear_attention_step};

/// Shortest of a few runs in milliseconds.
fn shortest(rounds: usize, work: &dyn Fn()) -> f64 {
    let time = |_| {
        let start = std::time::Instant::now();
        work();
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..rounds).map(time).fold(f64::INFINITY, f64::min)
}

/// `cargo test --release -p caldera-shaders against_plain -- --ignored --nocapture --test-threads 1`
#[test]
#[ignore = "a measurement"]
fn linear_attention_against_plain_operations() {
    type Form = fn(Tensor<4>, Tensor<4>, Tensor<4>, &Lengths, bool) -> Tensor<4>;
    let fused: Form = |q, k, v, lengths, causal| linear_attention(q, k, v, lengths, causal).y;
    let whole: Form =
        |q, k, v, lengths, causal| reference::linear_attention(q, k, v, lengths, causal).y;
    let chunked: Form = |q, k, v, lengths, _| reference::linear_attention_chunked(q, k, v, lengths);
    for place in places() {
        let sizes: &[[usize; 4]] = match place.name {
            "flex" => &[
                [16, 64, 12, 32],
                [1, 512, 8, 64],
                [1, 1024, 4, 64],
                [1, 16384, 4, 64],
            ],
            _ => &[
                [1, 128, 4, 32],
                [1, 512, 4, 64],
                [1, 1024, 1, 64],
                [1, 16384, 1, 64],
            ],
        };
        for &dims in sizes {
            let data = values(dims.iter().product(), 1.0, 7);
            let lengths = Lengths::full(dims[0], dims[1]);
            for (causal, backward) in [(false, false), (false, true), (true, false), (true, true)] {
                let [q, k, v] = [0; 3].map(|_| place.leaf(&data, dims));
                let run = |form: Form| {
                    let y = form(q.clone(), k.clone(), v.clone(), &lengths, causal);
                    if backward {
                        let _ = host(q.grad(&y.sum().backward()).unwrap().slice([0..1, 0..1]));
                    } else {
                        let _ = host(y.inner().slice([0..1, 0..1]));
                    }
                };
                let rounds = if dims[1] < 10_000 { 6 } else { 2 };
                let ours = shortest(rounds, &|| run(fused));
                let mut plain = f64::INFINITY;
                // The matrix of all pairs is no contender where it does not fit.
                if !causal || dims[1] <= 1024 {
                    plain = shortest(rounds, &|| run(whole));
                }
                if causal {
                    plain = plain.min(shortest(rounds, &|| run(chunked)));
                }
                println!(
                    "linear attention {dims:?} on {}, causal {causal}, backward {backward}: {ours:.2} ms, \
                     plain {plain:.2} ms, ratio {:.2}",
                    place.name,
                    plain / ours
                );
            }
        }
        let (dims, sums) = ([1, 8, 64], [1, 8, 64, 64]);
        let x: Tensor<3> = place.tensor(&values(512, 1.0, 1), dims);
        let kv: Tensor<4> = place.tensor(&values(512 * 64, 1.0, 2), sums);
        type Step = fn(
            Tensor<3>,
            Tensor<3>,
            Tensor<3>,
            Tensor<4>,
            Tensor<3>,
        ) -> (Tensor<3>, Tensor<4>, Tensor<3>);
        let [ours, plain] = [linear_attention_step as Step, step::reference].map(|step| {
            shortest(20, &|| {
                let (y, _, _) = step(x.clone(), x.clone(), x.clone(), kv.clone(), x.clone());
                let _ = host(y);
            })
        });
        println!(
            "linear attention step on {}: {ours:.3} ms, plain {plain:.3} ms",
            place.name
        );
    }
}
