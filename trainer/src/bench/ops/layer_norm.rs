//! Layer normalisation of the residual stream.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::layer_norm;

pub(super) struct LayerNorm;

const EPS: f64 = 1e-5;

impl Operator for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    // The three models are equally wide: once is enough.
    fn applies(&self, model: &ModelShape) -> bool {
        model.slots > 0
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let width = size.model.hidden;
        vec![
            Argument::within("x", [size.batch, size.len, width], -2.0, 3.0),
            Argument::within("weight", [width], 0.5, 1.5),
            Argument::new("bias", [width]),
        ]
    }

    fn run(&self, _: &Size, mut given: Given) -> Results {
        row(layer_norm(
            given.take::<3>(),
            given.take(),
            given.take(),
            EPS,
        ))
    }

    fn reference(&self, _: &Size, mut given: Given) -> Results {
        row(layer_norm::reference::layer_norm(
            given.take::<3>(),
            given.take(),
            given.take(),
            EPS,
        ))
    }

    /// Reads x, weight, bias, writes y. A value: one for the mean, three for the variance, three for scale and shift.
    fn forward(&self, size: &Size) -> Work {
        let (n, width) = (size.values(size.model.hidden), size.model.hidden as f64);
        Work::new(2.0 * n + 2.0 * width, 7.0 * n)
    }

    /// Reads x, dy, weight and two statistics a row, writes dx, dweight, dbias. A value: two to normalise, one by the weight, three
    /// for the two sums, four for dx, three for dweight and dbias.
    fn backward(&self, size: &Size) -> Option<Work> {
        let (n, width) = (size.values(size.model.hidden), size.model.hidden as f64);
        Some(Work::new(
            3.0 * n + 3.0 * width + 2.0 * size.rows(),
            13.0 * n,
        ))
    }
}
