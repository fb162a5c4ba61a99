//! The scan of Mamba-2 with one group and heads of the model's width.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::ssd;
use caldera_shaders::ssd::SsdInput;

pub(super) struct Ssd;

/// Values of x, of dt, of B, and of a, d and the bias together.
fn values(size: &Size) -> [f64; 4] {
    [
        size.values(size.model.d_inner),
        size.values(heads(size.model)),
        size.values(size.model.ssd_state),
        3.0 * heads(size.model) as f64,
    ]
}

/// Heads of a layer.
pub(super) fn heads(model: &ModelShape) -> usize {
    model.d_inner / model.head_width
}

fn input(mut given: Given) -> SsdInput {
    SsdInput {
        x: given.take(),
        dt: given.take(),
        a: given.take(),
        b: given.take(),
        c: given.take(),
        d: given.take(),
        dt_bias: given.take(),
        initial_state: None,
    }
}

impl Operator for Ssd {
    fn name(&self) -> &'static str {
        "ssd"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.ssd_state > 0
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let (batch, len, heads) = (size.batch, size.len, heads(size.model));
        let projection = [batch, len, 1, size.model.ssd_state];
        vec![
            Argument::new("x", [batch, len, heads, size.model.head_width]),
            Argument::new("dt", [batch, len, heads]),
            // As Mamba-2 starts: rates of 1 to 16, steps of 0.001 to 0.1.
            Argument::within("a", [heads], -16.0, -1.0),
            Argument::new("b", projection),
            Argument::new("c", projection),
            Argument::new("d", [heads]),
            Argument::within("dt_bias", [heads], -6.9, -2.3),
        ]
    }

    fn run(&self, _: &Size, given: Given) -> Results {
        let out = ssd(input(given));
        row(out.y).and(out.final_state)
    }

    fn reference(&self, _: &Size, given: Given) -> Results {
        let out = ssd::reference::ssd(input(given));
        row(out.y).and(out.final_state)
    }

    /// Reads x, dt, B, C and a head's parameters, writes y (the last state not counted). As a recurrence: for each position, channel and
    /// state three to move the state on and two to read it; three a channel for the skip and the step, six a head for decay and step.
    fn forward(&self, size: &Size) -> Work {
        let [x, dt, b, parameters] = values(size);
        Work::new(
            2.0 * x + dt + 2.0 * b + parameters,
            x * (5.0 * size.model.ssd_state as f64 + 3.0) + 6.0 * dt,
        )
    }

    /// Reads those and dy, writes a gradient of each. Moves the states again and their gradients back, three each, and takes the gradients of
    /// x, B, C and the decay from them, two each.
    fn backward(&self, size: &Size) -> Option<Work> {
        let [x, dt, b, parameters] = values(size);
        Some(Work::new(
            3.0 * x + 2.0 * dt + 4.0 * b + 2.0 * parameters,
            x * (14.0 * size.model.ssd_state as f64 + 6.0) + 12.0 * dt,
        ))
    }

    /// Half a dozen of the matrices of 64 values a position and head, and B and C repeated for every head.
    fn reference_bytes(&self, size: &Size) -> f64 {
        let per_head = 64.0 + size.model.ssd_state as f64;
        24.0 * size.values(heads(size.model)) * per_head + 16.0 * self.forward(size).bytes
    }
}
