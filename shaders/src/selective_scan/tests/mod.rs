mod timing;

use burn::tensor::Tensor;
use proptest::prelude::*;

use super::{ScanInput, ScanStepInput, TILE, reference, selective_scan, selective_scan_step};
use crate::block_on;
use crate::cases::check;
use crate::fixture::Case;
use crate::gradcheck::{Place, places, values};
use crate::tolerance::relative_rms;

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Sizes: B, L, D, N.
type Dims = [usize; 4];

/// Values of a scan in f64.
#[derive(Clone)]
struct Problem {
    dims: Dims,
    u: Vec<f64>,
    delta: Vec<f64>,
    a: Vec<f64>,
    b: Vec<f64>,
    c: Vec<f64>,
    d: Vec<f64>,
    delta_bias: Vec<f64>,
    z: Option<Vec<f64>>,
    initial: Option<Vec<f64>>,
    dy: Vec<f64>,
    large: f64,
}

/// y, last state; gradients of u, delta, a, b, c, d, delta_bias, z.
struct Exact {
    y: Vec<f64>,
    last: Vec<f64>,
    gradients: [Vec<f64>; 8],
    /// How many times as large as usual its operands were, 1 at least.
    large: f64,
}

const NAMES: [&str; 8] = ["du", "ddelta", "da", "db", "dc", "dd", "dbias", "dz"];

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Problem {
    fn new([batch, len, width, state]: Dims, gated: bool, resumed: bool, seed: u64) -> Self {
        let make = |count: usize, scale: f64, number: u64| values(count, scale, 16 * seed + number);
        let positions = batch * len * width;
        Self {
            dims: [batch, len, width, state],
            u: make(positions, 1.0, 0),
            delta: make(positions, 2.0, 1),
            // Decays from none to within a few positions.
            a: make(width * state, 2.0, 2)
                .into_iter()
                .map(|a| -a.abs() * a.abs() - 1e-3)
                .map(|a| f64::from(a as f32))
                .collect(),
            b: make(batch * len * state, 1.0, 3),
            c: make(batch * len * state, 1.0, 4),
            d: make(width, 1.0, 5),
            delta_bias: make(width, 2.0, 6),
            z: gated.then(|| make(positions, 3.0, 7)),
            initial: resumed.then(|| make(batch * width * state, 1.0, 8)),
            dy: make(positions, 1.0, 9),
            large: 1.0,
        }
    }

    /// A plain loop over the positions and back.
    fn exact(&self) -> Exact {
        let [batch, len, width, state] = self.dims;
        let zeros = |of: &[f64]| vec![0.0; of.len()];
        let mut y = zeros(&self.u);
        let mut last = vec![0.0; batch * width * state];
        let mut gradients = [
            zeros(&self.u),
            zeros(&self.delta),
            zeros(&self.a),
            zeros(&self.b),
            zeros(&self.c),
            zeros(&self.d),
            zeros(&self.delta_bias),
            zeros(&self.u),
        ];
        let [du, ddelta, da, db, dc, dd, dbias, dz] = &mut gradients;
        for sample in 0..batch {
            for channel in 0..width {
                let at = |t: usize| (sample * len + t) * width + channel;
                let raw = |t: usize| self.delta[at(t)] + self.delta_bias[channel];
                let dt = |t: usize| raw(t).max(0.0) + (-raw(t).abs()).exp().ln_1p();
                let decay = |t: usize, n: usize| (dt(t) * self.a[channel * state + n]).exp();
                let row = |t: usize| (sample * len + t) * state;
                let start = (sample * width + channel) * state;
                let mut states = vec![match &self.initial {
                    Some(initial) => initial[start..start + state].to_vec(),
                    None => vec![0.0; state],
                }];
                let mut g = vec![0.0; len];
                for t in 0..len {
                    let enters = dt(t) * self.u[at(t)];
                    let h: Vec<f64> = (0..state)
                        .map(|n| decay(t, n) * states[t][n] + enters * self.b[row(t) + n])
                        .collect();
                    let read: f64 = (0..state).map(|n| h[n] * self.c[row(t) + n]).sum();
                    let out = read + self.d[channel] * self.u[at(t)];
                    let mut gate = 1.0;
                    if let Some(z) = &self.z {
                        let (z, s) = (z[at(t)], sigmoid(z[at(t)]));
                        gate = z * s;
                        dz[at(t)] = self.dy[at(t)] * out * s * (1.0 + z * (1.0 - s));
                    }
                    y[at(t)] = out * gate;
                    g[t] = self.dy[at(t)] * gate;
                    states.push(h);
                }
                last[start..start + state].copy_from_slice(&states[len]);
                let mut adjoint = vec![0.0; state];
                for t in (0..len).rev() {
                    let (u, step) = (self.u[at(t)], dt(t));
                    let mut ddt = 0.0;
                    du[at(t)] = self.d[channel] * g[t];
                    dd[channel] += g[t] * u;
                    for n in 0..state {
                        let (a, b) = (self.a[channel * state + n], self.b[row(t) + n]);
                        let whole = g[t] * self.c[row(t) + n] + adjoint[n];
                        let kept = decay(t, n) * states[t][n];
                        dc[row(t) + n] += g[t] * states[t + 1][n];
                        db[row(t) + n] += whole * step * u;
                        du[at(t)] += whole * step * b;
                        ddt += whole * (b * u + a * kept);
                        da[channel * state + n] += whole * step * kept;
                        adjoint[n] = decay(t, n) * whole;
                    }
                    ddelta[at(t)] = ddt * sigmoid(raw(t));
                    dbias[channel] += ddelta[at(t)];
                }
            }
        }
        Exact {
            y,
            last,
            gradients,
            large: self.large,
        }
    }

    /// The operands at `place` as leaves.
    fn input(&self, place: &Place) -> ScanInput {
        let [batch, len, width, state] = self.dims;
        let z = self.z.as_ref();
        let initial = self.initial.as_ref();
        ScanInput {
            u: place.leaf(&self.u, [batch, len, width]),
            delta: place.leaf(&self.delta, [batch, len, width]),
            a: place.leaf(&self.a, [width, state]),
            b: place.leaf(&self.b, [batch, len, state]),
            c: place.leaf(&self.c, [batch, len, state]),
            d: place.leaf(&self.d, [width]),
            z: z.map(|z| place.leaf(z, [batch, len, width])),
            delta_bias: place.leaf(&self.delta_bias, [width]),
            initial_state: initial.map(|h| place.tensor(h, [batch, width, state]).autodiff()),
        }
    }

    /// Outputs and gradients of `scan` at `place`.
    fn run(&self, place: &Place, scan: fn(ScanInput) -> super::ScanOutput) -> Exact {
        let [batch, len, width, _] = self.dims;
        let input = self.input(place);
        let out = scan(input.clone());
        let dy = place.tensor(&self.dy, [batch, len, width]).autodiff();
        let gradients = (out.y.clone() * dy).sum().backward();
        let z = match &input.z {
            Some(z) => host(z.grad(&gradients).unwrap()),
            None => vec![0.0; self.u.len()],
        };
        Exact {
            y: host(out.y),
            last: host(out.last_state),
            gradients: [
                host(input.u.grad(&gradients).unwrap()),
                host(input.delta.grad(&gradients).unwrap()),
                host(input.a.grad(&gradients).unwrap()),
                host(input.b.grad(&gradients).unwrap()),
                host(input.c.grad(&gradients).unwrap()),
                host(input.d.grad(&gradients).unwrap()),
                host(input.delta_bias.grad(&gradients).unwrap()),
                z,
            ],
            large: self.large,
        }
    }
}

/// Where a decay or a gate is exactly zero, kernels keep what rounds to it (e^-87, 2e-38), times what is `large` beside it.
fn none(values: &[f64], large: f64) -> bool {
    values.iter().all(|value| value.abs() < 1e-31 * large)
}

#[track_caller]
fn compare(what: &str, place: &Place, got: &Exact, want: &Exact) {
    let large = want.large;
    let close = |name: &str, got: &[f64], want: &[f64]| {
        if none(want, large) && none(got, large) {
            return;
        }
        let error = relative_rms(got, want);
        // A step known to a few units in its last place gives a decay that is off by so many times its exponent.
        let slack = if large > 1.0 { 30.0 } else { 6.0 };
        let allowed = slack * place.allowed;
        let len = want.len();
        assert!(
            error <= allowed,
            "{what}, {name} on {}: relative RMS {error:e} of {len} values, allowed {allowed:e}; the first is {:e} and should be {:e}",
            place.name,
            got[0],
            want[0]
        );
    };
    close("y", &got.y, &want.y);
    close("last state", &got.last, &want.last);
    for ((name, got), want) in NAMES.iter().zip(&got.gradients).zip(&want.gradients) {
        close(name, got, want);
    }
}

#[test]
fn reference_cases() {
    for place in places() {
        for name in ["tiny", "ragged", "long"] {
            let path = format!("ops/mamba1-scan/{name}");
            let case = Case::read(&crate::cases::fixtures(), &path).unwrap();
            let report = block_on(check(&case, &place.device)).unwrap();
            assert!(
                report.passed && report.tensors.len() == 11,
                "{path} on {}: {report:#?}",
                place.name
            );
        }
    }
}

#[test]
fn the_plain_form_agrees_with_the_loop() {
    let problem = Problem::new([2, 9, 5, 3], true, true, 1);
    let place = &places()[0];
    let got = problem.run(place, reference::selective_scan);
    compare("plain", place, &got, &problem.exact());
}

#[test]
fn lengths_round_tiles_and_chunks() {
    for place in places() {
        for (seed, len) in [1usize, TILE, TILE + 1, 63, 64, 65, 257]
            .into_iter()
            .enumerate()
        {
            let problem = Problem::new([2, len, 19, 16], len != 65, len != 257, seed as u64);
            let got = problem.run(&place, selective_scan);
            compare(&format!("L {len}"), &place, &got, &problem.exact());
        }
    }
}

#[test]
fn widths_round_blocks_and_any_number_of_states() {
    let sizes = [
        [1, 20, 130, 1],
        [1, 20, 64, 17],
        [2, 70, 3, 33],
        [1, 70, 2, 256],
        [1, 5, 129, 4],
    ];
    for place in places() {
        for (seed, dims) in sizes.into_iter().enumerate() {
            let problem = Problem::new(dims, true, true, 50 + seed as u64);
            let got = problem.run(&place, selective_scan);
            compare(&format!("{dims:?}"), &place, &got, &problem.exact());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn any_sizes(
        dims in (1usize..3, 1usize..150, 1usize..80, 1usize..40),
        gated: bool,
        resumed: bool,
        seed in 0u64..1000,
    ) {
        let problem = Problem::new(dims.into(), gated, resumed, seed);
        let exact = problem.exact();
        for place in places() {
            let got = problem.run(&place, selective_scan);
            compare(&format!("{dims:?}"), &place, &got, &exact);
        }
    }
}

/// Positions `from..to` of a `[B, L, width]` tensor.
fn part(tensor: &Tensor<3>, from: usize, to: usize) -> Tensor<3> {
    tensor.clone().narrow(1, from, to - from)
}

#[test]
fn a_scan_may_stop_and_go_on() {
    let (len, prefill, steps) = (90, 65, 8);
    let problem = Problem::new([2, len, 21, 16], true, false, 3);
    for place in places() {
        let whole = ScanInput {
            u: place.tensor(&problem.u, [2, len, 21]),
            delta: place.tensor(&problem.delta, [2, len, 21]),
            a: place.tensor(&problem.a, [21, 16]),
            b: place.tensor(&problem.b, [2, len, 16]),
            c: place.tensor(&problem.c, [2, len, 16]),
            d: place.tensor(&problem.d, [21]),
            z: problem.z.as_ref().map(|z| place.tensor(z, [2, len, 21])),
            delta_bias: place.tensor(&problem.delta_bias, [21]),
            initial_state: None,
        };
        let scan = |from: usize, to: usize, initial_state: Option<Tensor<3>>| {
            selective_scan(ScanInput {
                u: part(&whole.u, from, to),
                delta: part(&whole.delta, from, to),
                b: part(&whole.b, from, to),
                c: part(&whole.c, from, to),
                z: whole.z.as_ref().map(|z| part(z, from, to)),
                initial_state,
                ..whole.clone()
            })
        };
        let first = scan(0, prefill, None);
        let mut rows = vec![first.y];
        let mut state = first.last_state;
        for t in prefill..prefill + steps {
            let at = |tensor: &Tensor<3>| part(tensor, t, t + 1).squeeze_dim::<2>(1);
            let (y, next) = selective_scan_step(ScanStepInput {
                u: at(&whole.u),
                delta: at(&whole.delta),
                a: whole.a.clone(),
                b: at(&whole.b),
                c: at(&whole.c),
                d: whole.d.clone(),
                z: whole.z.as_ref().map(at),
                delta_bias: whole.delta_bias.clone(),
                state,
            });
            rows.push(y.unsqueeze_dim(1));
            state = next;
        }
        let rest = scan(prefill + steps, len, Some(state));
        rows.push(rest.y);
        let exact = problem.exact();
        place.assert_close("y", Tensor::cat(rows, 1), &exact.y);
        place.assert_close("last state", rest.last_state, &exact.last);
    }
}

#[test]
fn a_step_with_and_without_a_gate() {
    for gated in [false, true] {
        let problem = Problem::new([3, 1, 67, 5], gated, true, 4);
        let exact = problem.exact();
        for place in places() {
            problem.check_step(&place, &exact);
        }
    }
}

#[test]
fn extreme_steps_decays_and_gates_stay_finite() {
    let dims @ [_, len, width, state] = [1, 80, 6, 3];
    for place in places() {
        for scale in [1e3, 1e6] {
            let problem = Problem::new(dims, true, true, 5).scaled([scale, scale, 1.0, scale]);
            let got = problem.run(&place, selective_scan);
            compare(&format!("scale {scale}"), &place, &got, &problem.exact());
        }
        // Steps of next to nothing: the state stays, the inputs vanish.
        let mut problem = Problem::new(dims, false, true, 6);
        problem.delta.fill(-1e4);
        problem.delta_bias.fill(0.0);
        let got = problem.run(&place, selective_scan);
        let initial = problem.initial.as_ref().unwrap();
        assert!(relative_rms(&got.last, initial) < 1e-6, "{}", place.name);
        let finite = got
            .gradients
            .iter()
            .flatten()
            .all(|value| value.is_finite());
        assert!(finite, "{}", place.name);
        assert_eq!(got.y.len(), len * width);
        assert_eq!(got.last.len(), width * state);
    }
}

impl Problem {
    /// Every step's raw size, every rate, input and gate so many times as large.
    fn scaled(mut self, [delta, a, u, z]: [f64; 4]) -> Self {
        let scale = |values: &mut [f64], by: f64| {
            let scaled = |value: &mut f64| *value = f64::from((*value * by) as f32);
            values.iter_mut().for_each(scaled);
        };
        let z = if self.z.is_some() { z } else { 1.0 };
        // A state is as large as the step, and da the step times that.
        self.large = [delta, delta, a, u, z]
            .map(|by: f64| by.max(1.0))
            .iter()
            .product();
        scale(&mut self.delta, delta);
        scale(&mut self.a, a);
        scale(&mut self.u, u);
        scale(self.z.as_deref_mut().unwrap_or_default(), z);
        self
    }

    /// The last position of a sequence of one, by the step, against `exact`.
    fn check_step(&self, place: &Place, exact: &Exact) {
        let [batch, len, width, state] = self.dims;
        assert_eq!(len, 1, "a step takes one position");
        let initial = self.initial.as_ref().expect("a step starts from a state");
        let z = self.z.as_ref();
        let (y, last) = selective_scan_step(ScanStepInput {
            u: place.tensor(&self.u, [batch, width]),
            delta: place.tensor(&self.delta, [batch, width]),
            a: place.tensor(&self.a, [width, state]),
            b: place.tensor(&self.b, [batch, state]),
            c: place.tensor(&self.c, [batch, state]),
            d: place.tensor(&self.d, [width]),
            z: z.map(|z| place.tensor(z, [batch, width])),
            delta_bias: place.tensor(&self.delta_bias, [width]),
            state: place.tensor(initial, [batch, width, state]),
        });
        for (name, got, want) in [("y", host(y), &exact.y), ("state", host(last), &exact.last)] {
            if [&got, want].iter().all(|values| none(values, self.large)) {
                continue;
            }
            let error = relative_rms(&got, want);
            let allowed = 4.0 * place.allowed;
            let what = format!("{name} of a step on {}, {:?}", place.name, self.dims);
            assert!(error <= allowed, "{what}: relative RMS {error:e}");
        }
    }
}

/// Factors from next to nothing to what an f32 still takes.
fn factor() -> impl Strategy<Value = f64> {
    prop::sample::select(vec![1e-6, 1e-3, 1.0, 1e3, 1e6])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn extreme_steps_decays_inputs_and_gates_match_f64(
        // Of eight sums over positions not all are near zero.
        dims in (1usize..3, 1usize..140, 8usize..20, 1usize..6),
        factors in [factor(), factor(), factor(), factor()],
        gated: bool,
        seed in 0u64..1000,
    ) {
        let problem = Problem::new(dims.into(), gated, true, seed).scaled(factors);
        let exact = problem.exact();
        let step = Problem::new([dims.0, 1, dims.2, dims.3], gated, true, seed).scaled(factors);
        let after = step.exact();
        for place in places() {
            let got = problem.run(&place, selective_scan);
            compare(&format!("{dims:?} times {factors:?}"), &place, &got, &exact);
            step.check_step(&place, &after);
        }
    }
}

#[test]
fn a_decay_of_thousands_of_positions_matches_f64() {
    // 65 chunks, through all of which the first positions are felt.
    let problem = Problem::new([1, 4097, 3, 2], true, true, 7).scaled([1.0, 1e-3, 1.0, 1.0]);
    let exact = problem.exact();
    for place in places() {
        let got = problem.run(&place, selective_scan);
        compare("long decay", &place, &got, &exact);
    }
}

#[test]
#[should_panic(expected = "so c must be [1, 4, 2]; found [1, 3, 2]")]
fn a_shape_that_does_not_fit_is_named() {
    let mut input = Problem::new([1, 4, 3, 2], false, false, 1).input(&places()[0]);
    input.c = input.c.narrow(1, 0, 3);
    let _ = selective_scan(input);
}
