//! Linear attention of one token, for each sequence: the length plays no part, and the slope over it should be 0.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::linear_attention::step;
use caldera_shaders::linear_attention_step;

pub(super) struct LinearAttentionStep;

impl Operator for LinearAttentionStep {
    fn name(&self) -> &'static str {
        "linear_attention_step"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.causal || model.name == "tiny"
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let (batch, heads, width) = (size.batch, size.model.heads, size.model.head_width);
        let row = [batch, heads, width];
        vec![
            Argument::within("query", row, -2.0, 2.0),
            Argument::within("key", row, -2.0, 2.0),
            Argument::within("value", row, -2.0, 2.0),
            Argument::within("kv", [batch, heads, width, width], -2.0, 2.0),
            // A sum of features, which are positive.
            Argument::within("z", row, 1.0, 9.0),
        ]
    }

    fn run(&self, _: &Size, mut given: Given) -> Results {
        let (query, key, value) = (given.take(), given.take(), given.take());
        let (y, kv, z) = linear_attention_step(query, key, value, given.take(), given.take());
        row(y).and(kv).and(z)
    }

    fn reference(&self, _: &Size, mut given: Given) -> Results {
        let (query, key, value) = (given.take(), given.take(), given.take());
        let (y, kv, z) = step::reference(query, key, value, given.take(), given.take());
        row(y).and(kv).and(z)
    }

    /// Reads query, key, value and both sums, writes y and both sums. For each head a product of key and value added to the sums and one
    /// of the query with them, 2 P² each; six a channel for the features, one for z, three for the normaliser.
    fn forward(&self, size: &Size) -> Work {
        let n = (size.batch * size.model.hidden) as f64;
        let width = size.model.head_width as f64;
        Work::new(6.0 * n + 2.0 * n * width, n * (4.0 * width + 10.0))
    }

    fn next_state(&self, size: &Size) -> usize {
        size.batch * size.model.hidden * (size.model.head_width + 1)
    }

    /// Generation is not trained through.
    fn backward(&self, _: &Size) -> Option<Work> {
        None
    }
}
