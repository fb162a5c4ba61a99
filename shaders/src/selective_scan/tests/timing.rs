//! Measurements of the scan, run by hand.

use burn::tensor::Tensor;

use super::{Place, Problem, ScanInput, host, places, reference, selective_scan};
use crate::selective_scan::ScanOutput;

/// Shortest time of `rounds` runs in milliseconds.
fn shortest(rounds: usize, mut work: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let start = std::time::Instant::now();
        work();
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    best
}

/// Milliseconds of the forward pass alone, and of both.
fn time(
    problem: &Problem,
    place: &Place,
    scan: fn(ScanInput) -> ScanOutput,
    backward: bool,
) -> [f64; 2] {
    let input = problem.input(place);
    let inner = ScanInput {
        u: input.u.clone().inner(),
        delta: input.delta.clone().inner(),
        a: input.a.clone().inner(),
        b: input.b.clone().inner(),
        c: input.c.clone().inner(),
        d: input.d.clone().inner(),
        z: input.z.clone().map(Tensor::inner),
        delta_bias: input.delta_bias.clone().inner(),
        initial_state: None,
    };
    let forward = || drop(host(scan(inner.clone()).y.sum()));
    let both = || {
        let gradients = scan(input.clone()).y.sum().backward();
        drop(host(input.delta_bias.grad(&gradients).unwrap().sum()));
    };
    // Once to compile and to warm up.
    forward();
    let rounds = 3;
    let forward = shortest(rounds, forward);
    if !backward {
        return [forward, f64::NAN];
    }
    both();
    [forward, shortest(rounds, both)]
}

/// `cargo test --release -p caldera-shaders scan_against_plain -- --ignored --nocapture --test-threads 1`
#[test]
#[ignore = "a measurement"]
fn scan_against_plain_operations() {
    crate::launch::poison_fresh_buffers(false);
    for place in places() {
        crate::launch::poison_fresh_buffers(false);
        for dims in [
            [1, 1, 64, 16],
            [1, 16, 64, 16],
            [1, 128, 64, 16],
            [1, 4096, 64, 16],
        ] {
            let problem = Problem::new(dims, true, false, 1);
            let ours = time(&problem, &place, selective_scan, true);
            // Each slice of the plain backward pass fills a whole tensor: its time grows with L squared.
            let plain = time(&problem, &place, reference::selective_scan, dims[1] < 1024);
            println!(
                "selective scan {dims:?} on {}: forward {:.3} ms, plain {:.2} ms, {:.1}x; with backward {:.3} ms, plain {:.2} ms, {:.1}x",
                place.name,
                ours[0],
                plain[0],
                plain[0] / ours[0],
                ours[1],
                plain[1],
                plain[1] / ours[1],
            );
        }
    }
}

/// `cargo test --release -p caldera-shaders scan_cost_over_length -- --ignored --nocapture --test-threads 1`
#[test]
#[ignore = "a measurement"]
fn scan_cost_over_length() {
    for place in places() {
        crate::launch::poison_fresh_buffers(false);
        let width = if place.name == "flex" { 512 } else { 64 };
        let lengths = [1024usize, 4096, 16384];
        let times = lengths.map(|len| {
            let problem = Problem::new([1, len, width, 16], true, false, 1);
            let [forward, both] = time(&problem, &place, selective_scan, true);
            println!(
                "selective scan [1, {len}, {width}, 16] on {}: forward {forward:.2} ms, with backward {both:.2} ms",
                place.name
            );
            [forward, both]
        });
        for (pass, name) in ["forward", "with backward"].into_iter().enumerate() {
            let slope = (times[2][pass] / times[0][pass]).ln() / 16f64.ln();
            println!("  {name}: log-log slope {slope:.3}");
        }
    }
}
