//! GELU in the feed-forward layer.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::gelu;

pub(super) struct Gelu;

impl Operator for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    // The three models are equally wide: once is enough.
    fn applies(&self, model: &ModelShape) -> bool {
        model.slots > 0
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let dims = [size.batch, size.len, size.model.intermediate];
        vec![Argument::within("x", dims, -4.0, 4.0)]
    }

    fn run(&self, _: &Size, mut given: Given) -> Results {
        row(gelu(given.take::<3>()))
    }

    fn reference(&self, _: &Size, mut given: Given) -> Results {
        row(gelu::reference::gelu(given.take::<3>()))
    }

    /// Reads x, writes y. The rational form of the normal distribution: three for its argument, fourteen for the polynomial, four for
    /// the density, three to put them together.
    fn forward(&self, size: &Size) -> Work {
        let n = size.values(size.model.intermediate);
        Work::new(2.0 * n, 24.0 * n)
    }

    /// Reads x and dy, writes dx; four more a value.
    fn backward(&self, size: &Size) -> Option<Work> {
        let n = size.values(size.model.intermediate);
        Some(Work::new(3.0 * n, 28.0 * n))
    }
}
