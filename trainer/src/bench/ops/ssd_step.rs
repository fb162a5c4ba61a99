//! One position of the scan of Mamba-2, for each sequence: the length plays no part, and the slope over it should be 0.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use super::ssd::heads;
use caldera_shaders::ssd::SsdInput;
use caldera_shaders::{ssd, ssd_step};

pub(super) struct SsdStep;

impl Operator for SsdStep {
    fn name(&self) -> &'static str {
        "ssd_step"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.ssd_state > 0
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let (batch, heads) = (size.batch, heads(size.model));
        let (width, state) = (size.model.head_width, size.model.ssd_state);
        vec![
            Argument::new("x", [batch, heads, width]),
            Argument::new("dt", [batch, heads]),
            // As Mamba-2 starts: rates of 1 to 16, steps of 0.001 to 0.1.
            Argument::within("a", [heads], -16.0, -1.0),
            Argument::new("b", [batch, 1, state]),
            Argument::new("c", [batch, 1, state]),
            Argument::new("d", [heads]),
            Argument::within("dt_bias", [heads], -6.9, -2.3),
            Argument::new("state", [batch, heads, width, state]),
        ]
    }

    fn run(&self, _: &Size, mut given: Given) -> Results {
        let (x, dt, a) = (given.take(), given.take(), given.take());
        let (b, c, d) = (given.take(), given.take(), given.take());
        let (dt_bias, state) = (given.take(), given.take());
        let (y, state) = ssd_step(x, dt, a, b, c, d, dt_bias, state);
        row(y).and(state)
    }

    fn reference(&self, _: &Size, mut given: Given) -> Results {
        let (x, dt, a) = (given.take::<3>(), given.take::<2>(), given.take());
        let (b, c, d) = (given.take::<3>(), given.take::<3>(), given.take());
        let (dt_bias, state) = (given.take(), given.take());
        let out = ssd::reference::ssd(SsdInput {
            x: x.unsqueeze_dim(1),
            dt: dt.unsqueeze_dim(1),
            a,
            b: b.unsqueeze_dim(1),
            c: c.unsqueeze_dim(1),
            d,
            dt_bias,
            initial_state: Some(state),
        });
        row(out.y).and(out.final_state)
    }

    /// Reads x, dt, B, C, a head's parameters and the state, writes y and the next state. For each channel and state three to move the
    /// state on and two to read it; three a channel for the skip and the step, six a head for decay and step.
    fn forward(&self, size: &Size) -> Work {
        let (batch, heads) = (size.batch as f64, heads(size.model) as f64);
        let (channels, state) = (size.model.d_inner as f64, size.model.ssd_state as f64);
        Work::new(
            batch * (2.0 * channels + heads + 2.0 * state + 2.0 * channels * state) + 3.0 * heads,
            batch * (channels * (5.0 * state + 3.0) + 6.0 * heads),
        )
    }

    fn next_state(&self, size: &Size) -> usize {
        size.batch * size.model.d_inner * size.model.ssd_state
    }

    /// Generation is not trained through.
    fn backward(&self, _: &Size) -> Option<Work> {
        None
    }
}
