mod timing;

use burn::tensor::Tensor;
use proptest::prelude::*;

use super::{SsdInput, SsdOutput, reference, ssd, ssd_step};
use crate::block_on;
use crate::fixture::Case;
use crate::gradcheck::{Place, places, values};

/// B, L, H, P, G, N
type Dims = [usize; 6];

/// Values of x, dt, a, b, c, d, dt_bias and the gradient of y.
struct Data {
    dims: Dims,
    parts: [Vec<f64>; 7],
    /// `[B, H, P, N]`; without it, zeros.
    initial: Option<Vec<f64>>,
    upstream: Vec<f64>,
}

impl Data {
    /// `rate`: how large the decay rates are at most, `step`: dt lies in ±step.
    fn new(dims: Dims, rate: f64, step: f64, seed: u64) -> Self {
        let [batch, len, heads, width, groups, state] = dims;
        let (of_x, of_b) = (batch * len * heads * width, batch * len * groups * state);
        let a = values(heads, rate, seed + 2)
            .iter()
            .map(|a| -a.abs())
            .collect();
        Self {
            dims,
            parts: [
                values(of_x, 1.0, seed),
                values(batch * len * heads, step, seed + 1),
                a,
                values(of_b, 1.0, seed + 3),
                values(of_b, 1.0, seed + 4),
                values(heads, 1.0, seed + 5),
                values(heads, 1.0, seed + 6),
            ],
            initial: None,
            upstream: values(of_x, 1.0, seed + 7),
        }
    }

    /// The same behind a state.
    fn resumed(mut self, seed: u64) -> Self {
        let [batch, _, heads, width, _, state] = self.dims;
        self.initial = Some(values(batch * heads * width * state, 1.0, seed + 8));
        self
    }

    fn of_x(&self) -> [usize; 4] {
        let [batch, len, heads, width, ..] = self.dims;
        [batch, len, heads, width]
    }

    fn input(&self, place: &Place) -> SsdInput {
        let [batch, len, heads, width, groups, state] = self.dims;
        let [x, dt, a, b, c, d, dt_bias] = &self.parts;
        let initial = self.initial.as_ref();
        SsdInput {
            x: place.leaf(x, self.of_x()),
            dt: place.leaf(dt, [batch, len, heads]),
            a: place.leaf(a, [heads]),
            b: place.leaf(b, [batch, len, groups, state]),
            c: place.leaf(c, [batch, len, groups, state]),
            d: place.leaf(d, [heads]),
            dt_bias: place.leaf(dt_bias, [heads]),
            initial_state: initial
                .map(|h| place.tensor(h, [batch, heads, width, state]).autodiff()),
        }
    }

    /// The only position by the step, against the loop.
    fn check_step(&self, place: &Place) {
        let [batch, len, heads, width, groups, state] = self.dims;
        assert_eq!(len, 1, "a step takes one position");
        let initial = self.initial.as_ref().expect("a step starts from a state");
        let [x, dt, a, b, c, d, dt_bias] = &self.parts;
        let (y, last) = ssd_step(
            place.tensor(x, [batch, heads, width]),
            place.tensor(dt, [batch, heads]),
            place.tensor(a, [heads]),
            place.tensor(b, [batch, groups, state]),
            place.tensor(c, [batch, groups, state]),
            place.tensor(d, [heads]),
            place.tensor(dt_bias, [heads]),
            place.tensor(initial, [batch, heads, width, state]),
        );
        let (want_y, want_last, ..) = self.expected();
        place.assert_close(&format!("y of a step, {:?}", self.dims), y, &want_y);
        place.assert_close(&format!("its state, {:?}", self.dims), last, &want_last);
    }

    /// y, the last state, the gradients of the parts and the summed squares of what each of them sums over positions, by a
    /// loop over the positions in f64.
    #[expect(clippy::type_complexity, reason = "named where it is taken apart")]
    fn expected(&self) -> (Vec<f64>, Vec<f64>, [Vec<f64>; 7], [Vec<f64>; 7]) {
        let [batch, len, heads, width, groups, state] = self.dims;
        let [x, dt, a, b, c, d, dt_bias] = &self.parts;
        let area = width * state;
        let mut y = vec![0.0; x.len()];
        let mut last = Vec::new();
        let mut grads = self.parts.clone().map(|part| vec![0.0; part.len()]);
        let mut squares = grads.clone();
        for (sample, h) in (0..batch).flat_map(|b| (0..heads).map(move |h| (b, h))) {
            let position = |t: usize| (sample * len + t) * heads + h;
            let vector = |t: usize| ((sample * len + t) * groups + h / (heads / groups)) * state;
            let raw = |t: usize| dt[position(t)] + dt_bias[h];
            let delta = |t: usize| raw(t).max(0.0) + (-raw(t).abs()).exp().ln_1p();
            let first = (sample * heads + h) * area;
            let mut states = vec![match &self.initial {
                Some(initial) => initial[first..first + area].to_vec(),
                None => vec![0.0; area],
            }];
            for t in 0..len {
                let (at, v) = (position(t) * width, vector(t));
                let mut next = states[t].clone();
                for (p, n) in (0..width).flat_map(|p| (0..state).map(move |n| (p, n))) {
                    let value = &mut next[p * state + n];
                    *value = *value * (delta(t) * a[h]).exp() + delta(t) * x[at + p] * b[v + n];
                    y[at + p] += *value * c[v + n];
                }
                (0..width).for_each(|p| y[at + p] += d[h] * x[at + p]);
                states.push(next);
            }
            last.extend(&states[len]);
            let mut carried = vec![0.0; area];
            for t in (0..len).rev() {
                let (at, v) = (position(t) * width, vector(t));
                let decay = (delta(t) * a[h]).exp();
                let (mut dstep, mut ddecay) = (0.0, 0.0);
                for (p, n) in (0..width).flat_map(|p| (0..state).map(move |n| (p, n))) {
                    let i = p * state + n;
                    let up = self.upstream[at + p];
                    carried[i] += up * c[v + n];
                    grads[4][v + n] += up * states[t + 1][i];
                    grads[0][at + p] += carried[i] * delta(t) * b[v + n];
                    grads[3][v + n] += carried[i] * delta(t) * x[at + p];
                    dstep += carried[i] * x[at + p] * b[v + n];
                    ddecay += carried[i] * states[t][i];
                    carried[i] *= decay;
                }
                for p in 0..width {
                    grads[0][at + p] += d[h] * self.upstream[at + p];
                    grads[5][h] += x[at + p] * self.upstream[at + p];
                    squares[5][h] += (x[at + p] * self.upstream[at + p]).powi(2);
                }
                grads[2][h] += ddecay * decay * delta(t);
                squares[2][h] += (ddecay * decay * delta(t)).powi(2);
                let ddt = (dstep + ddecay * decay * a[h]) / (1.0 + (-raw(t)).exp());
                grads[1][position(t)] = ddt;
                grads[6][h] += ddt;
                squares[6][h] += ddt * ddt;
            }
        }
        (y, last, grads, squares)
    }
}

fn gradients(input: &SsdInput, out: Tensor<4>) -> [Vec<f64>; 7] {
    fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.into_data().iter::<f64>().collect()
    }
    let grads = out.sum().backward();
    [
        host(input.x.grad(&grads).unwrap()),
        host(input.dt.grad(&grads).unwrap()),
        host(input.a.grad(&grads).unwrap()),
        host(input.b.grad(&grads).unwrap()),
        host(input.c.grad(&grads).unwrap()),
        host(input.d.grad(&grads).unwrap()),
        host(input.dt_bias.grad(&grads).unwrap()),
    ]
}

const NAMES: [&str; 7] = ["dx", "ddt", "da", "db", "dc", "dd", "ddt_bias"];

/// `f` against the loop; gradients may lie `slack` times further off than outputs.
fn compare(f: fn(SsdInput) -> SsdOutput, data: &Data, places: &[Place], slack: f64) {
    let (y, last, grads, squares) = data.expected();
    for place in places {
        let input = data.input(place);
        let out = f(input.clone());
        let upstream = place.tensor(&data.upstream, data.of_x()).autodiff();
        let found = gradients(&input, out.y.clone() * upstream);
        let what = |name: &str| format!("{name} of {:?}", data.dims);
        place.assert_close(&what("y"), out.y, &y);
        place.assert_close(&what("final_state"), out.final_state, &last);
        for (i, (name, found)) in NAMES.iter().zip(found).enumerate() {
            // A sum over all positions may happen to be near 0: then its terms are the measure.
            let pairs = found.iter().zip(&grads[i]).zip(&squares[i]);
            let (off, size) = pairs.fold((0.0, 0.0), |(off, size), ((found, want), square)| {
                (
                    off + (found - want).powi(2),
                    size + (want * want).max(*square),
                )
            });
            // What a decay of nothing lets through, kernels round to what they can hold.
            let least = found.len() as f64 * 1e-36;
            let error = (off / f64::max(size, least)).sqrt();
            assert!(
                off.is_finite() && error <= slack * place.allowed,
                "{} on {}: relative RMS {error:e}",
                what(name),
                place.name
            );
        }
    }
}

fn check(dims: Dims, seed: u64) {
    let data = Data::new(dims, 2.0, 2.0, seed);
    // Every other problem goes on from a state.
    let data = if seed.is_multiple_of(2) {
        data
    } else {
        data.resumed(seed)
    };
    compare(ssd, &data, &places(), 3.0);
}

#[test]
fn reference_cases() {
    for place in places() {
        for name in ["tiny", "ragged", "long"] {
            let path = format!("ops/mamba2-ssd/{name}");
            let case = Case::read(&crate::cases::fixtures(), &path).unwrap();
            let report = block_on(crate::cases::check(&case, &place.device)).unwrap();
            assert!(
                report.passed && report.tensors.len() == 9,
                "{path} on {}: {report:#?}",
                place.name
            );
        }
    }
}

#[test]
fn values_and_gradients_match_f64() {
    for (seed, len) in [1, 63, 64, 65, 257, 128, 128].into_iter().enumerate() {
        check([2, len, 4, 5, 2, 7], seed as u64);
    }
    check([1, 70, 6, 64, 1, 128], 9);
    check([1, 66, 1, 67, 1, 65], 10);
    // Forward alone, read at once, large enough that a read too early would show.
    let data = Data::new([1, 256, 2, 64, 1, 128], 2.0, 2.0, 11);
    let (y, ..) = data.expected();
    for place in places() {
        place.assert_close("y alone", ssd(data.input(&place)).y.inner(), &y);
    }
}

#[test]
fn the_plain_form_matches_f64() {
    let data = Data::new([2, 130, 4, 5, 2, 7], 2.0, 2.0, 1);
    compare(reference::ssd, &data, &places()[..1], 10.0);
}

#[test]
fn slow_and_fast_decays_match_f64() {
    // Small steps keep the state over many chunks, large ones forget it at once; both in one sequence.
    compare(
        ssd,
        &Data::new([1, 300, 2, 4, 1, 4], 1e-3, 2.0, 1),
        &places(),
        3.0,
    );
    compare(
        ssd,
        &Data::new([1, 150, 2, 4, 1, 4], 100.0, 8.0, 2),
        &places(),
        3.0,
    );
}

#[test]
fn a_decay_of_thousands_of_positions_matches_f64() {
    // 65 chunks, through all of which the first positions are felt.
    let data = Data::new([1, 4097, 1, 3, 1, 2], 1e-3, 1.0, 4).resumed(4);
    compare(ssd, &data, &places(), 10.0);
}

#[test]
fn rates_past_what_steps_are_known_to_give_numbers() {
    for (rate, step) in [(1e30, 100.0), (1e30, 1e4)] {
        let data = Data::new([1, 130, 2, 4, 1, 4], rate, step, 3).resumed(3);
        for place in places() {
            let input = data.input(&place);
            let out = ssd(input.clone());
            let found = gradients(&input, out.y.clone());
            let y = out.y.into_data();
            assert!(y.iter::<f64>().all(f64::is_finite), "y on {}", place.name);
            for (name, found) in NAMES.iter().zip(found) {
                assert!(
                    found.iter().all(|value| value.is_finite()),
                    "{name} on {} at rate {rate:e}, step {step:e}",
                    place.name
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]
    #[test]
    fn extreme_rates_and_steps_match_f64(
        (batch, len, sharing) in (1usize..3, 1usize..140, 1usize..4),
        (groups, width, state) in (1usize..3, 1usize..9, 1usize..9),
        rate in prop::sample::select(vec![1e-30, 1e-6, 2.0, 1e3, 1e6]),
        step in prop::sample::select(vec![1e-3, 2.0, 100.0, 1e4]),
        seed in 0u64..1000,
    ) {
        let dims = |len| [batch, len, sharing * groups, width, groups, state];
        // A step known to a few units in its last place gives a decay that is off by so many times its exponent.
        compare(ssd, &Data::new(dims(len), rate, step, seed).resumed(seed), &places(), 30.0);
        for place in places() {
            Data::new(dims(1), rate, step, seed).resumed(seed).check_step(&place);
        }
    }
}

#[test]
fn prefill_then_steps_equal_the_whole() {
    let dims = [2, 75, 4, 6, 2, 9];
    let data = Data::new(dims, 2.0, 2.0, 5);
    let (y, last, ..) = data.expected();
    for place in places() {
        let SsdInput {
            x,
            dt,
            a,
            b,
            c,
            d,
            dt_bias,
            ..
        } = data.input(&place);
        let (x, dt, b, c) = (x.inner(), dt.inner(), b.inner(), c.inner());
        let (a, d, dt_bias) = (a.inner(), d.inner(), dt_bias.inner());
        let part = |from: usize, len: usize, state: Option<Tensor<4>>| {
            ssd(SsdInput {
                x: x.clone().narrow(1, from, len),
                dt: dt.clone().narrow(1, from, len),
                a: a.clone(),
                b: b.clone().narrow(1, from, len),
                c: c.clone().narrow(1, from, len),
                d: d.clone(),
                dt_bias: dt_bias.clone(),
                initial_state: state,
            })
        };
        let first = part(0, 3, None);
        let second = part(3, 67, Some(first.final_state.clone()));
        let mut outputs = vec![first.y, second.y];
        let kept = second.final_state.clone();
        let mut state = second.final_state;
        for t in 70..75 {
            let (y, next) = ssd_step(
                x.clone().narrow(1, t, 1).squeeze_dim(1),
                dt.clone().narrow(1, t, 1).squeeze_dim(1),
                a.clone(),
                b.clone().narrow(1, t, 1).squeeze_dim(1),
                c.clone().narrow(1, t, 1).squeeze_dim(1),
                d.clone(),
                dt_bias.clone(),
                state,
            );
            outputs.push(y.unsqueeze_dim(1));
            state = next;
        }
        place.assert_close("y", Tensor::cat(outputs, 1), &y);
        place.assert_close("state", state, &last);
        // The step changes a state in place only where nobody else holds it.
        let again = part(3, 67, Some(first.final_state)).final_state;
        let want: Vec<f64> = again.into_data().iter::<f64>().collect();
        place.assert_close("a state that is held", kept, &want);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5))]
    #[test]
    fn any_size(
        batch in 1usize..3,
        len in 1usize..140,
        sharing in 1usize..6,
        groups in 1usize..3,
        width in 1usize..14,
        state in 1usize..20,
        seed in 0u64..1000,
    ) {
        check([batch, len, sharing * groups, width, groups, state], seed);
    }
}
