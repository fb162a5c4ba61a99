//! One position of the causal convolution, for each sequence: the length plays no part, and the slope over it should be 0.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::{causal_conv1d, causal_conv1d_step};

pub(super) struct CausalConv1dStep;

const WIDTH: usize = 4;

impl Operator for CausalConv1dStep {
    fn name(&self) -> &'static str {
        "causal_conv1d_step"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.conv_channels > 0
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let (batch, channels) = (size.batch, size.model.conv_channels);
        vec![
            Argument::within("x", [batch, channels], -2.0, 2.0),
            Argument::new("weight", [channels, WIDTH]),
            Argument::new("bias", [channels]),
            Argument::within("state", [batch, channels, WIDTH - 1], -2.0, 2.0),
        ]
    }

    fn run(&self, _: &Size, mut given: Given) -> Results {
        let (x, weight, bias) = (given.take(), given.take(), given.take());
        let (y, state) = causal_conv1d_step(x, weight, Some(bias), given.take(), true);
        row(y).and(state)
    }

    fn reference(&self, _: &Size, mut given: Given) -> Results {
        let (x, weight, bias) = (given.take(), given.take(), given.take());
        let state = given.take();
        let (y, state) =
            causal_conv1d::reference::causal_conv1d_step(x, weight, Some(bias), state, true);
        row(y).and(state)
    }

    /// Reads x, the state, weight and bias, writes y and the next state. A value: two a tap, four for silu.
    fn forward(&self, size: &Size) -> Work {
        let channels = size.model.conv_channels as f64;
        let (n, width) = (size.batch as f64 * channels, WIDTH as f64);
        Work::new(
            2.0 * n * width + (width + 1.0) * channels,
            (2.0 * width + 4.0) * n,
        )
    }

    fn next_state(&self, size: &Size) -> usize {
        size.batch * size.model.conv_channels * (WIDTH - 1)
    }

    /// Generation is not trained through.
    fn backward(&self, _: &Size) -> Option<Work> {
        None
    }
}
