//! Mamba's scan with its gate.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::selective_scan;
use caldera_shaders::selective_scan::ScanInput;

pub(super) struct SelectiveScan;

/// Values of u, of B, and of the parameters.
fn values(size: &Size) -> [f64; 3] {
    let (width, state) = (size.model.d_inner, size.model.d_state);
    [
        size.values(width),
        size.values(state),
        (width * (state + 2)) as f64,
    ]
}

fn input(mut given: Given) -> ScanInput {
    ScanInput {
        u: given.take(),
        delta: given.take(),
        a: given.take(),
        b: given.take(),
        c: given.take(),
        d: given.take(),
        z: Some(given.take()),
        delta_bias: given.take(),
        initial_state: None,
    }
}

impl Operator for SelectiveScan {
    fn name(&self) -> &'static str {
        "selective_scan"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.d_state > 0
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let (batch, len) = (size.batch, size.len);
        let (width, state) = (size.model.d_inner, size.model.d_state);
        vec![
            Argument::new("u", [batch, len, width]),
            Argument::new("delta", [batch, len, width]),
            // As Mamba starts: rates of 1 to 16, steps of 0.001 to 0.1.
            Argument::within("a", [width, state], -16.0, -1.0),
            Argument::new("b", [batch, len, state]),
            Argument::new("c", [batch, len, state]),
            Argument::new("d", [width]),
            Argument::within("z", [batch, len, width], -2.0, 2.0),
            Argument::within("delta_bias", [width], -6.9, -2.3),
        ]
    }

    fn run(&self, _: &Size, given: Given) -> Results {
        let out = selective_scan(input(given));
        row(out.y).and(out.last_state)
    }

    fn reference(&self, _: &Size, given: Given) -> Results {
        let out = selective_scan::reference::selective_scan(input(given));
        row(out.y).and(out.last_state)
    }

    /// Reads u, delta, z, B, C and the parameters, writes y (the last state not counted). For each position, channel and state two for the
    /// decay, three to move the state on and two to read it; twelve a channel for step, skip and gate.
    fn forward(&self, size: &Size) -> Work {
        let [n, b, parameters] = values(size);
        Work::new(
            4.0 * n + 2.0 * b + parameters,
            n * (7.0 * size.model.d_state as f64 + 12.0),
        )
    }

    /// Reads those and dy, writes a gradient of each. For each position, channel and state the forward pass again and one more, and fifteen
    /// for the state's gradient and what it gives to u, delta, A, B, C; twenty-five a channel.
    fn backward(&self, size: &Size) -> Option<Work> {
        let [n, b, parameters] = values(size);
        Some(Work::new(
            7.0 * n + 4.0 * b + 2.0 * parameters,
            n * (23.0 * size.model.d_state as f64 + 25.0),
        ))
    }

    /// Decays, inputs and states of every position with their gradients.
    fn reference_bytes(&self, size: &Size) -> f64 {
        40.0 * size.values(size.model.d_inner) * size.model.d_state as f64
    }
}
