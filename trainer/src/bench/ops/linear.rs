//! The first linear layer of the feed-forward part, with its bias.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::linear;

pub(super) struct Linear;

/// Rows, width in, width out.
fn sizes(size: &Size) -> [f64; 3] {
    [
        size.rows(),
        size.model.hidden as f64,
        size.model.intermediate as f64,
    ]
}

impl Operator for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    // The three models are equally wide: once is enough.
    fn applies(&self, model: &ModelShape) -> bool {
        model.slots > 0
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let (width_in, width_out) = (size.model.hidden, size.model.intermediate);
        vec![
            Argument::new("x", [size.batch, size.len, width_in]),
            Argument::new("weight", [width_out, width_in]),
            Argument::new("bias", [width_out]),
        ]
    }

    fn run(&self, _: &Size, mut given: Given) -> Results {
        let (x, weight, bias) = (given.take::<3>(), given.take(), given.take());
        row(linear(x, weight, Some(bias)))
    }

    fn reference(&self, _: &Size, mut given: Given) -> Results {
        let (x, weight, bias) = (given.take::<3>(), given.take(), given.take());
        row(linear::reference::linear(x, weight, Some(bias)))
    }

    /// Reads x, weight, bias, writes y: one product.
    fn forward(&self, size: &Size) -> Work {
        let [rows, i, o] = sizes(size);
        Work::new(rows * (i + o) + i * o + o, rows * o * (2.0 * i + 1.0))
    }

    /// Reads x, weight, dy, writes dx, dweight, dbias: two products and a sum.
    fn backward(&self, size: &Size) -> Option<Work> {
        let [rows, i, o] = sizes(size);
        Some(Work::new(
            rows * (2.0 * i + o) + 2.0 * i * o + o,
            rows * o * (4.0 * i + 1.0),
        ))
    }
}
