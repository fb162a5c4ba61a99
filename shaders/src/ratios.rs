//! Ratios of the operators to their references in plain Burn operations on the CPU, forward and backward, at the sizes
//! of a small BERT. `cargo test --release -p caldera-shaders ratios -- --ignored --nocapture --test-threads 1`

use std::hint::black_box;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};

use crate::{AdamWStep, adamw, adamw_step, gelu, layer_norm, linear, sum_of_squares};

const ROWS: usize = 2048;
const RUNS: usize = 20;

fn random<const D: usize>(dims: [usize; D]) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), &Device::flex())
}

/// Shortest times in milliseconds of the two, run in turns: what other programs take of the cores only adds.
fn shortest(mut ours: impl FnMut(), mut reference: impl FnMut()) -> (f64, f64) {
    let time = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64() * 1e3
    };
    let mut times = (Vec::new(), Vec::new());
    for run in 0..RUNS + 3 {
        let (a, b) = (time(&mut ours), time(&mut reference));
        if run >= 3 {
            times.0.push(a);
            times.1.push(b);
        }
    }
    let least = |times: Vec<f64>| times.into_iter().fold(f64::INFINITY, f64::min);
    (least(times.0), least(times.1))
}

fn report(what: &str, (ours, reference): (f64, f64)) {
    println!(
        "{what:<44} {ours:8.2} ms   plain Burn {reference:8.2} ms   {:5.2}x",
        reference / ours
    );
}

/// Forward and backward of `f` with a gradient of ones for each of `leaves`.
fn pass<const D: usize>(x: &Tensor<2>, f: impl Fn(Tensor<2>) -> Tensor<D>) {
    let x = x.clone().autodiff().require_grad();
    let gradients = f(x.clone()).sum().backward();
    black_box(x.grad(&gradients));
}

#[test]
#[ignore = "a measurement"]
fn ratios_to_plain_burn() {
    for width in [384, 1536] {
        let x = random([ROWS, width]);
        let size = format!("[{ROWS}, {width}]");
        report(
            &format!("gelu {size} forward"),
            shortest(
                || drop(black_box(gelu(x.clone()))),
                || drop(black_box(gelu::reference::gelu(x.clone()))),
            ),
        );
        report(
            &format!("gelu {size} forward + backward"),
            shortest(|| pass(&x, gelu), || pass(&x, gelu::reference::gelu)),
        );
        let (w, b) = (random([width]), random([width]));
        let leaf = |t: &Tensor<1>| t.clone().autodiff().require_grad();
        report(
            &format!("layer_norm {size} forward"),
            shortest(
                || {
                    drop(black_box(layer_norm(
                        x.clone(),
                        w.clone(),
                        b.clone(),
                        1e-12,
                    )))
                },
                || {
                    drop(black_box(layer_norm::reference::layer_norm(
                        x.clone(),
                        w.clone(),
                        b.clone(),
                        1e-12,
                    )))
                },
            ),
        );
        report(
            &format!("layer_norm {size} forward + backward"),
            shortest(
                || pass(&x, |x| layer_norm(x, leaf(&w), leaf(&b), 1e-12)),
                || {
                    pass(&x, |x| {
                        layer_norm::reference::layer_norm(x, leaf(&w), leaf(&b), 1e-12)
                    })
                },
            ),
        );
    }
    for (width_in, width_out) in [(384, 384), (384, 1536), (1536, 384)] {
        let (x, w, b) = (
            random([ROWS, width_in]),
            random([width_out, width_in]),
            random([width_out]),
        );
        let size = format!("[{ROWS}, {width_in}] x [{width_in}, {width_out}]");
        let times = shortest(
            || drop(black_box(linear(x.clone(), w.clone(), Some(b.clone())))),
            || {
                drop(black_box(linear::reference::linear(
                    x.clone(),
                    w.clone(),
                    Some(b.clone()),
                )))
            },
        );
        report(&format!("linear {size} forward"), times);
        println!(
            "{:>60.0} GFLOP/s",
            2.0 * (ROWS * width_in * width_out) as f64 / times.0 / 1e6
        );
        let run = |f: fn(Tensor<2>, Tensor<2>, Option<Tensor<1>>) -> Tensor<2>| {
            pass(&x, |x| {
                f(
                    x,
                    w.clone().autodiff().require_grad(),
                    Some(b.clone().autodiff().require_grad()),
                )
            })
        };
        report(
            &format!("linear {size} f+b"),
            shortest(|| run(linear), || run(linear::reference::linear)),
        );
    }
    let step = AdamWStep {
        lr: 1e-4,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        step: 3,
    };
    for len in [1536 * 384, 30522 * 384] {
        let grad = random([len]);
        let state = || (random([len]), random([len]), random([len]).square());
        let (mut ours, mut plain) = (Some(state()), Some(state()));
        report(
            &format!("adamw_step [{len}]"),
            shortest(
                || {
                    let (p, m, v) = ours.take().unwrap();
                    ours = Some(adamw_step(p, grad.clone(), m, v, step));
                },
                || {
                    let (p, m, v) = plain.take().unwrap();
                    plain = Some(adamw::reference::adamw_step(p, grad.clone(), m, v, step));
                },
            ),
        );
        report(
            &format!("sum_of_squares [{len}]"),
            shortest(
                || drop(black_box(sum_of_squares(grad.clone()))),
                || drop(black_box(grad.clone().square().sum())),
            ),
        );
    }
}

/// What two cores reach on fused multiply-adds in registers: the bound on a matrix product.
#[test]
#[ignore = "a measurement"]
#[cfg(target_arch = "x86_64")]
fn ratios_peak_of_this_machine() {
    #[target_feature(enable = "avx2,fma")]
    fn busy(rounds: usize) -> f32 {
        use std::arch::x86_64::*;
        let mut sums = [_mm256_set1_ps(1.0); 10];
        let (a, b) = (
            _mm256_set1_ps(black_box(1.000_001)),
            _mm256_set1_ps(black_box(1e-9)),
        );
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, a, b);
            }
        }
        let mut out = [0f32; 8];
        // SAFETY: the array holds eight values.
        unsafe {
            _mm256_storeu_ps(
                out.as_mut_ptr(),
                sums.into_iter().reduce(|a, b| _mm256_add_ps(a, b)).unwrap(),
            )
        };
        out.iter().sum()
    }
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
        return;
    }
    const ROUNDS: usize = 100_000_000;
    for threads in [1, 2] {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                // SAFETY: both features were found above.
                scope.spawn(|| black_box(unsafe { busy(ROUNDS) }));
            }
        });
        let flops = (threads * ROUNDS * 10 * 8 * 2) as f64;
        println!(
            "peak of {threads} threads: {:.0} GFLOP/s",
            flops / start.elapsed().as_secs_f64() / 1e9
        );
    }
}
