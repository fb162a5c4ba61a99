use burn::tensor::Tensor;
use proptest::prelude::*;

use super::{causal_conv1d, causal_conv1d_step, reference};
use crate::block_on;
use crate::cases::check;
use crate::fixture::Case;
use crate::gradcheck::{Place, places, values};

/// One problem and its answers by loops in f64.
struct Problem {
    dims: [usize; 3],
    width: usize,
    silu: bool,
    x: Vec<f64>,
    weight: Vec<f64>,
    bias: Option<Vec<f64>>,
    state: Option<Vec<f64>>,
    upstream: Vec<f64>,
    /// What silu of a large negative number and its gradient, which are nothing, may be off by: e^−87 of an f32 times two inputs.
    least: f64,
}

struct Answers {
    y: Vec<f64>,
    state: Vec<f64>,
    dx: Vec<f64>,
    dweight: Vec<f64>,
    dbias: Vec<f64>,
}

impl Problem {
    fn new(
        dims: [usize; 3],
        width: usize,
        [silu, bias, state]: [bool; 3],
        scale: f64,
        seed: u64,
    ) -> Self {
        let [batch, len, channels] = dims;
        Self {
            dims,
            width,
            silu,
            x: values(batch * len * channels, scale, seed),
            weight: values(channels * width, 1.0, seed + 1),
            bias: bias.then(|| values(channels, 1.0, seed + 2)),
            state: state.then(|| values(batch * channels * (width - 1), scale, seed + 3)),
            upstream: values(batch * len * channels, 1.0, seed + 4),
            least: if silu {
                1e-36 * scale.max(1.0).powi(2)
            } else {
                0.0
            },
        }
    }

    /// The input of a channel at `at - (W - 1)`, and its place in x where it lies there.
    fn input(&self, sample: usize, channel: usize, at: usize) -> (f64, Option<usize>) {
        let ([_, len, channels], past) = (self.dims, self.width - 1);
        if at >= past {
            let place = (sample * len + at - past) * channels + channel;
            return (self.x[place], Some(place));
        }
        let place = (sample * channels + channel) * past + at;
        (self.state.as_ref().map_or(0.0, |state| state[place]), None)
    }

    fn answers(&self) -> Answers {
        let ([batch, len, channels], width) = (self.dims, self.width);
        let mut out = Answers {
            y: vec![0.0; self.x.len()],
            state: Vec::new(),
            dx: vec![0.0; self.x.len()],
            dweight: vec![0.0; channels * width],
            dbias: vec![0.0; channels],
        };
        for sample in 0..batch {
            for channel in 0..channels {
                for t in 0..len {
                    let at = (sample * len + t) * channels + channel;
                    let mut z = self.bias.as_ref().map_or(0.0, |bias| bias[channel]);
                    for j in 0..width {
                        z +=
                            self.weight[channel * width + j] * self.input(sample, channel, t + j).0;
                    }
                    let s = 1.0 / (1.0 + (-z).exp());
                    let (y, slope) = match self.silu {
                        true => (z * s, s * (1.0 + z * (1.0 - s))),
                        false => (z, 1.0),
                    };
                    out.y[at] = y;
                    let dz = self.upstream[at] * slope;
                    out.dbias[channel] += dz;
                    for j in 0..width {
                        let (value, place) = self.input(sample, channel, t + j);
                        out.dweight[channel * width + j] += dz * value;
                        if let Some(place) = place {
                            out.dx[place] += dz * self.weight[channel * width + j];
                        }
                    }
                }
                out.state
                    .extend((0..width - 1).map(|j| self.input(sample, channel, len + j).0));
            }
        }
        out
    }

    /// Values, state and gradients at `place`.
    fn check(&self, place: &Place) {
        let ([batch, len, channels], width) = (self.dims, self.width);
        let want = self.answers();
        let (x, weight) = (
            place.leaf(&self.x, self.dims),
            place.leaf(&self.weight, [channels, width]),
        );
        let bias = self.bias.as_ref().map(|bias| place.leaf(bias, [channels]));
        let state = self
            .state
            .as_ref()
            .map(|state| place.tensor(state, [batch, channels, width - 1]));
        let out = causal_conv1d(
            x.clone(),
            weight.clone(),
            bias.clone(),
            state.clone(),
            self.silu,
        );
        let what = |name: &str| {
            let flags = [self.silu, self.bias.is_some(), self.state.is_some()];
            format!(
                "{name} of {:?}, width {width}, {flags:?}",
                [batch, len, channels]
            )
        };
        place.assert_within(&what("y"), out.y.clone(), &want.y, self.least);
        assert_eq!(out.state.dims(), [batch, channels, width - 1]);
        if width > 1 {
            place.assert_close(&what("state"), out.state, &want.state);
        }
        let gradients = (out.y * place.tensor(&self.upstream, self.dims).autodiff())
            .sum()
            .backward();
        place.assert_within(
            &what("dx"),
            x.grad(&gradients).unwrap(),
            &want.dx,
            self.least,
        );
        let dweight = weight.grad(&gradients).unwrap();
        place.assert_within(&what("dweight"), dweight, &want.dweight, self.least);
        if let Some(bias) = bias {
            place.assert_within(
                &what("dbias"),
                bias.grad(&gradients).unwrap(),
                &want.dbias,
                self.least,
            );
        }
        // Without autodiff, and the plain form.
        let arguments = || {
            (
                place.tensor(&self.x, self.dims),
                place.tensor(&self.weight, [channels, width]),
                self.bias
                    .as_ref()
                    .map(|bias| place.tensor(bias, [channels])),
            )
        };
        let (x, weight, bias) = arguments();
        let y = causal_conv1d(x, weight, bias, state.clone(), self.silu).y;
        place.assert_within(&what("y without autodiff"), y, &want.y, self.least);
        let (x, weight, bias) = arguments();
        let y = reference::causal_conv1d(x, weight, bias, state, self.silu);
        place.assert_within(&what("y of the plain form"), y, &want.y, self.least);
    }
}

impl Problem {
    /// The only position by the step.
    fn check_step(&self, place: &Place) {
        let ([batch, len, channels], width) = (self.dims, self.width);
        assert_eq!(len, 1, "a step takes one position");
        let want = self.answers();
        let state = self.state.as_ref().expect("a step starts from a state");
        let (y, state) = causal_conv1d_step(
            place.tensor(&self.x, [batch, channels]),
            place.tensor(&self.weight, [channels, width]),
            self.bias
                .as_ref()
                .map(|bias| place.tensor(bias, [channels])),
            place.tensor(state, [batch, channels, width - 1]),
            self.silu,
        );
        let what = format!("of a step of {:?}, width {width}", self.dims);
        place.assert_within(&format!("y {what}"), y, &want.y, self.least);
        if width > 1 {
            place.assert_close(&format!("state {what}"), state, &want.state);
        }
    }
}

#[test]
fn reference_cases() {
    for place in places() {
        for name in ["tiny", "short", "ragged", "long"] {
            let path = format!("ops/causal-conv1d/{name}");
            let case = Case::read(&crate::cases::fixtures(), &path).unwrap();
            let report = block_on(check(&case, &place.device)).unwrap();
            assert!(
                report.passed && report.tensors.len() == 7,
                "{path} on {}: {report:#?}",
                place.name
            );
        }
    }
}

#[test]
fn lengths_round_the_chunks_match_f64() {
    for place in places() {
        for (seed, len) in [1, 2, 3, 15, 16, 17, 63, 64, 65, 257]
            .into_iter()
            .enumerate()
        {
            Problem::new([2, len, 5], 4, [true; 3], 2.0, seed as u64).check(&place);
        }
    }
}

#[test]
fn every_width_and_flag_matches_f64() {
    for place in places() {
        for width in 1..=9 {
            let flags = [width % 2 == 0, width % 3 > 0, width % 4 < 2];
            Problem::new([2, 21, 3], width, flags, 1.0, width as u64).check(&place);
            Problem::new([1, 2, 7], width, flags.map(|flag| !flag), 1.0, 9).check(&place);
        }
    }
}

#[test]
fn many_channels_match_f64() {
    for place in places() {
        // Several tiles and blocks on the CPU (the last), long chunks on the GPU.
        Problem::new([1, 40, 300], 4, [true, true, false], 1.0, 1).check(&place);
        Problem::new([2, 70, 1024], 4, [true, true, false], 1.0, 2).check(&place);
        Problem::new([2, 70, 2050], 4, [true, true, false], 1.0, 3).check(&place);
    }
}

#[test]
fn huge_inputs_stay_finite() {
    for place in places() {
        for scale in [1e4, 1e18] {
            let problem = Problem::new([1, 40, 6], 4, [true; 3], scale, 3);
            let want = problem.answers();
            let x = place.leaf(&problem.x, problem.dims);
            let weight = place.leaf(&problem.weight, [6, 4]);
            let y = causal_conv1d(x.clone(), weight.clone(), None, None, true).y;
            let gradients = y.clone().sum().backward();
            for data in [
                y.into_data(),
                x.grad(&gradients).unwrap().into_data(),
                weight.grad(&gradients).unwrap().into_data(),
            ] {
                assert!(data.iter::<f64>().all(f64::is_finite), "{}", place.name);
            }
            problem.check(&place);
            assert!(want.y.iter().all(|y| y.is_finite()));
        }
    }
}

#[test]
fn silu_of_what_is_far_below_zero_matches_f64() {
    for place in places() {
        for scale in [1e4, 1e18] {
            for seed in 44..60 {
                Problem::new([1, 1, 1], 2, [true, false, true], scale, seed).check(&place);
            }
        }
    }
}

#[test]
fn steps_continue_a_sequence() {
    for place in places() {
        for (width, silu, with_bias) in [(4, true, true), (2, false, false), (1, true, true)] {
            let flags = [silu, with_bias, false];
            let problem = Problem::new([2, 9, 5], width, flags, 1.0, width as u64);
            let x = place.tensor(&problem.x, problem.dims);
            let weight = place.tensor(&problem.weight, [5, width]);
            let bias = problem.bias.as_ref().map(|bias| place.tensor(bias, [5]));
            let first = x.clone().narrow(1, 0, 4);
            let mut state = causal_conv1d(first, weight.clone(), bias.clone(), None, silu).state;
            let mut rows = Vec::new();
            for t in 4..9 {
                let x = x.clone().narrow(1, t, 1).squeeze_dim::<2>(1);
                let (y, next) = causal_conv1d_step(x, weight.clone(), bias.clone(), state, silu);
                state = next;
                rows.push(y);
            }
            let got: Tensor<3> = Tensor::stack(rows, 1);
            let want = problem.answers();
            let late: Vec<f64> = want
                .y
                .chunks_exact(9 * 5)
                .flat_map(|sample| sample[4 * 5..].to_vec())
                .collect();
            place.assert_close("y of the steps", got, &late);
            if width > 1 {
                place.assert_close("state after the steps", state, &want.state);
            }
        }
    }
}

#[test]
fn a_frozen_filter_leaves_the_gradient_of_x() {
    let problem = Problem::new([2, 20, 3], 4, [true, true, false], 1.0, 5);
    let want = problem.answers();
    for place in places() {
        let x = place.leaf(&problem.x, problem.dims);
        let weight = place.tensor(&problem.weight, [3, 4]).autodiff();
        let bias = problem
            .bias
            .as_ref()
            .map(|bias| place.tensor(bias, [3]).autodiff());
        let y = causal_conv1d(x.clone(), weight, bias, None, true).y;
        let gradients = (y * place.tensor(&problem.upstream, problem.dims).autodiff())
            .sum()
            .backward();
        place.assert_close("dx", x.grad(&gradients).unwrap(), &want.dx);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn any_size(
        batch in 1usize..4,
        len in 1usize..150,
        channels in 1usize..70,
        width in 1usize..9,
        flags in any::<[bool; 3]>(),
        seed in 0u64..1000,
    ) {
        for place in places() {
            Problem::new([batch, len, channels], width, flags, 1.5, seed).check(&place);
        }
    }
    #[test]
    fn extreme_inputs_and_steps_match_f64(
        (batch, len, channels, width) in (1usize..3, 1usize..80, 1usize..20, 1usize..6),
        scale in prop::sample::select(vec![1e-18, 1e-6, 30.0, 1e4, 1e18]),
        silu: bool,
        bias: bool,
        seed in 0u64..1000,
    ) {
        let flags = [silu, bias, true];
        let problem = Problem::new([batch, len, channels], width, flags, scale, seed);
        let step = Problem::new([batch, 1, channels], width, flags, scale, seed);
        for place in places() {
            problem.check(&place);
            step.check_step(&place);
        }
    }
}
