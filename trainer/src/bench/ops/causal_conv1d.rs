//! The causal convolution of width 4 with bias and silu.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::causal_conv1d;

pub(super) struct CausalConv1d;

const WIDTH: usize = 4;

/// Values of x, and of weight and bias.
fn values(size: &Size) -> (f64, f64) {
    let channels = size.model.conv_channels;
    (size.values(channels), (channels * (WIDTH + 1)) as f64)
}

impl Operator for CausalConv1d {
    fn name(&self) -> &'static str {
        "causal_conv1d"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.conv_channels > 0
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let channels = size.model.conv_channels;
        vec![
            Argument::within("x", [size.batch, size.len, channels], -2.0, 2.0),
            Argument::new("weight", [channels, WIDTH]),
            Argument::new("bias", [channels]),
        ]
    }

    fn run(&self, _: &Size, mut given: Given) -> Results {
        let (x, weight, bias) = (given.take(), given.take(), given.take());
        row(causal_conv1d(x, weight, Some(bias), None, true).y)
    }

    fn reference(&self, _: &Size, mut given: Given) -> Results {
        let (x, weight, bias) = (given.take(), given.take(), given.take());
        row(causal_conv1d::reference::causal_conv1d(
            x,
            weight,
            Some(bias),
            None,
            true,
        ))
    }

    /// Reads x, weight, bias, writes y. A value: two a tap, four for silu.
    fn forward(&self, size: &Size) -> Work {
        let (n, parameters) = values(size);
        Work::new(2.0 * n + parameters, (2 * WIDTH + 4) as f64 * n)
    }

    /// Reads x, dy, weight, bias, writes dx, dweight, dbias. A value: the sum again, seven for the slope of silu, two a tap for dx and two
    /// for dweight, one for dbias.
    fn backward(&self, size: &Size) -> Option<Work> {
        let (n, parameters) = values(size);
        Some(Work::new(
            3.0 * n + 2.0 * parameters,
            (6 * WIDTH + 8) as f64 * n,
        ))
    }
}
