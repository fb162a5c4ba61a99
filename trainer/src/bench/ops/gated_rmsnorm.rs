//! The gated norm behind the scan of Mamba-2, one group.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::gated_rmsnorm;

pub(super) struct GatedRmsNorm;

const EPS: f64 = 1e-5;

impl Operator for GatedRmsNorm {
    fn name(&self) -> &'static str {
        "gated_rmsnorm"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.ssd_state > 0
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let (dims, width) = (
            [size.batch, size.len, size.model.d_inner],
            size.model.d_inner,
        );
        vec![
            Argument::within("x", dims, -2.0, 2.0),
            Argument::within("z", dims, -3.0, 3.0),
            Argument::within("weight", [width], 0.5, 1.5),
        ]
    }

    fn run(&self, _: &Size, mut given: Given) -> Results {
        let (x, z, weight) = (given.take(), given.take(), given.take());
        row(gated_rmsnorm(x, z, weight, 1, EPS))
    }

    fn reference(&self, _: &Size, mut given: Given) -> Results {
        let (x, z, weight) = (given.take(), given.take(), given.take());
        row(gated_rmsnorm::reference::gated_rmsnorm(
            x, z, weight, 1, EPS,
        ))
    }

    /// Reads x, z, weight, writes y. A value: five for the gate, two for the mean square, two for the scale.
    fn forward(&self, size: &Size) -> Work {
        let (n, width) = (size.values(size.model.d_inner), size.model.d_inner as f64);
        Work::new(3.0 * n + width, 9.0 * n)
    }

    /// Reads x, z, dy, weight and a statistic a row, writes dx, dz, dweight. A value: five for the gate again, three for the sum along the row, four
    /// for its gradient, six for dx and dz, three for dweight.
    fn backward(&self, size: &Size) -> Option<Work> {
        let (n, width) = (size.values(size.model.d_inner), size.model.d_inner as f64);
        Some(Work::new(5.0 * n + 2.0 * width + size.rows(), 21.0 * n))
    }
}
