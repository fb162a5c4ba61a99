//! Reversal of time round the backward direction of Mamba-2: no arithmetic, every value moved once.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::{Lengths, reverse_padded};

pub(super) struct ReversePadded;

impl Operator for ReversePadded {
    fn name(&self) -> &'static str {
        "reverse_padded"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.ssd_state > 0
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        vec![Argument::new(
            "x",
            [size.batch, size.len, size.model.hidden],
        )]
    }

    fn run(&self, size: &Size, mut given: Given) -> Results {
        let lengths = Lengths::full(size.batch, size.len);
        row(reverse_padded(given.take(), &lengths))
    }

    fn reference(&self, size: &Size, mut given: Given) -> Results {
        let lengths = Lengths::full(size.batch, size.len);
        row(reverse_padded::reference::reverse_padded(
            given.take(),
            &lengths,
        ))
    }

    /// Reads x, writes y.
    fn forward(&self, size: &Size) -> Work {
        Work::new(2.0 * size.values(size.model.hidden), 0.0)
    }

    /// The same again.
    fn backward(&self, size: &Size) -> Option<Work> {
        Some(self.forward(size))
    }
}
