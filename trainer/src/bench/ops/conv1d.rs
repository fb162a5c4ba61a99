//! The positional convolution of Wav2Vec2: 16 groups, windows of 128 positions, as many frames as the length.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::conv1d;

pub(super) struct Conv1d;

const GROUPS: usize = 16;
const WIDTH: usize = 128;

/// Channels of a group.
fn channels(size: &Size) -> usize {
    size.model.hidden / GROUPS
}

/// Values of x with its padding, of y, and of weight and bias.
fn values(size: &Size) -> [f64; 3] {
    let padded = (size.batch * (size.len + WIDTH - 1) * size.model.hidden) as f64;
    let parameters = (WIDTH * channels(size) + 1) * size.model.hidden;
    [padded, size.values(size.model.hidden), parameters as f64]
}

impl Operator for Conv1d {
    fn name(&self) -> &'static str {
        "conv1d"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.ssd_state > 0
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let channels = channels(size);
        let samples = size.batch * GROUPS;
        vec![
            Argument::within("x", [samples, size.len + WIDTH - 1, channels], -2.0, 2.0),
            Argument::within("weight", [GROUPS, WIDTH * channels, channels], -0.1, 0.1),
            Argument::new("bias", [GROUPS, channels]),
        ]
    }

    fn run(&self, _: &Size, mut given: Given) -> Results {
        let (x, weight, bias) = (given.take(), given.take(), given.take());
        row(conv1d(x, weight, Some(bias), 1))
    }

    fn reference(&self, _: &Size, mut given: Given) -> Results {
        let (x, weight, bias) = (given.take(), given.take(), given.take());
        row(conv1d::reference::conv1d(x, weight, Some(bias), 1))
    }

    /// Reads x, weight, bias, writes y. A value of y: two a tap and channel of its group.
    fn forward(&self, size: &Size) -> Work {
        let [x, y, parameters] = values(size);
        Work::new(
            x + y + parameters,
            y * (2 * WIDTH * channels(size) + 1) as f64,
        )
    }

    /// Reads x, dy, weight, writes a gradient of each argument: the same products for dx and again for dweight.
    fn backward(&self, size: &Size) -> Option<Work> {
        let [x, y, parameters] = values(size);
        Some(Work::new(
            2.0 * x + y + 2.0 * parameters,
            y * (4 * WIDTH * channels(size) + 1) as f64,
        ))
    }

    /// Burn's form may hold every window.
    fn reference_bytes(&self, size: &Size) -> f64 {
        4.0 * size.values(size.model.hidden) * WIDTH as f64 + 16.0 * self.forward(size).bytes
    }
}
