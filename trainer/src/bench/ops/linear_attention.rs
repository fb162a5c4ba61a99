//! Linear attention, causal where the model is.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::linear_attention::reference;
use caldera_shaders::{Lengths, linear_attention};

pub(super) struct LinearAttention;

impl Operator for LinearAttention {
    fn name(&self) -> &'static str {
        "linear_attention"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.slots > 0 || model.causal
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let dims = [
            size.batch,
            size.len,
            size.model.heads,
            size.model.head_width,
        ];
        ["query", "key", "value"]
            .map(|name| Argument::within(name, dims, -2.0, 2.0))
            .into()
    }

    fn run(&self, size: &Size, mut given: Given) -> Results {
        let lengths = Lengths::full(size.batch, size.len);
        let [q, k, v] = std::array::from_fn(|_| given.take::<4>());
        let out = linear_attention(q, k, v, &lengths, size.model.causal);
        match size.model.causal {
            // The chunked plain form gives no sums.
            true => row(out.y),
            false => row(out.y).and(out.kv).and(out.z),
        }
    }

    // In chunks where causal: the other plain form holds a value a pair of positions.
    fn reference(&self, size: &Size, mut given: Given) -> Results {
        let lengths = Lengths::full(size.batch, size.len);
        let [q, k, v] = std::array::from_fn(|_| given.take::<4>());
        if size.model.causal {
            row(reference::linear_attention_chunked(q, k, v, &lengths))
        } else {
            let out = reference::linear_attention(q, k, v, &lengths, false);
            row(out.y).and(out.kv).and(out.z)
        }
    }

    /// Reads Q, K, V, writes y (the sums at the end not counted). As a recurrence: for each position and head a product of key and
    /// value added to the state and one of the query with it, 2 P² each; six a channel for the features, one for z, three for the
    /// normaliser.
    fn forward(&self, size: &Size) -> Work {
        let (n, width) = (size.values(size.model.hidden), size.model.head_width as f64);
        Work::new(4.0 * n, n * (4.0 * width + 10.0))
    }

    /// Reads Q, K, V, dy and a normaliser a row, writes dQ, dK, dV. Four products with a state or its gradient, 2 P² each, and twenty a
    /// channel.
    fn backward(&self, size: &Size) -> Option<Work> {
        let (n, width) = (size.values(size.model.hidden), size.model.head_width as f64);
        Some(Work::new(
            7.0 * n + size.values(size.model.heads),
            n * (8.0 * width + 20.0),
        ))
    }
}
