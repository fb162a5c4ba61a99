//! Rotary positions on the packed projection of GPT-NeoX, which also takes queries, keys and values apart.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use burn::tensor::{Device, Int, Tensor};
use caldera_shaders::rotary;

pub(super) struct Rotary;

/// Pairs of dimensions that turn: a quarter of a head's width (`rotary_pct` 0.25), two dimensions a pair.
fn pairs(size: &Size) -> usize {
    size.model.head_width / 8
}

/// Cosines and sines `[L, pairs]`.
fn tables(size: &Size, device: &Device) -> [Tensor<2>; 2] {
    let positions = Tensor::<1, Int>::arange(0..size.len as i64, device).float();
    let steps = Tensor::<1, Int>::arange(0..pairs(size) as i64, device).float();
    let rates = (steps * (-(1e4_f32.ln()) / pairs(size) as f32)).exp();
    let angles = positions.unsqueeze_dim::<2>(1) * rates.unsqueeze_dim::<2>(0);
    [angles.clone().cos(), angles.sin()]
}

fn joined(parts: [Tensor<4>; 3]) -> Results {
    row(Tensor::cat(parts.map(|part| row(part).result).to_vec(), 0))
}

impl Operator for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.causal || model.name == "tiny"
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let dims = [
            size.batch,
            size.len,
            size.model.heads,
            3 * size.model.head_width,
        ];
        vec![Argument::new("packed", dims)]
    }

    fn run(&self, size: &Size, mut given: Given) -> Results {
        let packed = given.take::<4>();
        let [cos, sin] = tables(size, &packed.device());
        joined(rotary(packed, cos, sin))
    }

    fn reference(&self, size: &Size, mut given: Given) -> Results {
        let packed = given.take::<4>();
        let [cos, sin] = tables(size, &packed.device());
        joined(rotary::reference::rotary(packed, cos, sin))
    }

    /// Reads the packed values, writes the parts; six operations for each pair of queries and of keys. That the parts are joined
    /// again, for one result, is not counted, nor are the tables: both forms pay for them.
    fn forward(&self, size: &Size) -> Work {
        let turned = 2.0 * size.values(size.model.heads * pairs(size));
        Work::new(6.0 * size.values(size.model.hidden), 6.0 * turned)
    }

    /// The same the other way.
    fn backward(&self, size: &Size) -> Option<Work> {
        Some(self.forward(size))
    }
}
