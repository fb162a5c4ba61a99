//! One position of Mamba's scan, for each sequence: the length plays no part, and the slope over it should be 0.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::selective_scan::ScanStepInput;
use caldera_shaders::{selective_scan, selective_scan_step};

pub(super) struct SelectiveScanStep;

fn input(mut given: Given) -> ScanStepInput {
    ScanStepInput {
        u: given.take(),
        delta: given.take(),
        a: given.take(),
        b: given.take(),
        c: given.take(),
        d: given.take(),
        z: Some(given.take()),
        delta_bias: given.take(),
        state: given.take(),
    }
}

impl Operator for SelectiveScanStep {
    fn name(&self) -> &'static str {
        "selective_scan_step"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.d_state > 0
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let (batch, width, state) = (size.batch, size.model.d_inner, size.model.d_state);
        vec![
            Argument::new("u", [batch, width]),
            Argument::new("delta", [batch, width]),
            // As Mamba starts: rates of 1 to 16, steps of 0.001 to 0.1.
            Argument::within("a", [width, state], -16.0, -1.0),
            Argument::new("b", [batch, state]),
            Argument::new("c", [batch, state]),
            Argument::new("d", [width]),
            Argument::within("z", [batch, width], -2.0, 2.0),
            Argument::within("delta_bias", [width], -6.9, -2.3),
            Argument::new("state", [batch, width, state]),
        ]
    }

    fn run(&self, _: &Size, given: Given) -> Results {
        let (y, state) = selective_scan_step(input(given));
        row(y).and(state)
    }

    fn reference(&self, _: &Size, given: Given) -> Results {
        let (y, state) = selective_scan::reference::selective_scan_step(input(given));
        row(y).and(state)
    }

    /// Reads u, delta, z, B, C, the parameters and the state, writes y and the next state. For each channel and state two for the decay,
    /// three to move the state on and two to read it; twelve a channel for step, skip and gate.
    fn forward(&self, size: &Size) -> Work {
        let batch = size.batch as f64;
        let (width, state) = (size.model.d_inner as f64, size.model.d_state as f64);
        Work::new(
            batch * (4.0 * width + 2.0 * state + 2.0 * width * state) + width * (state + 2.0),
            batch * width * (7.0 * state + 12.0),
        )
    }

    fn next_state(&self, size: &Size) -> usize {
        size.batch * size.model.d_inner * size.model.d_state
    }

    /// Generation is not trained through.
    fn backward(&self, _: &Size) -> Option<Work> {
        None
    }
}
