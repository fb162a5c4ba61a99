//! Softmax attention of one token against a full cache: the length is that of the cache.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::softmax_attention::reference;
use caldera_shaders::{Lengths, softmax_attention_step};

pub(super) struct SoftmaxAttentionStep;

impl Operator for SoftmaxAttentionStep {
    fn name(&self) -> &'static str {
        "softmax_attention_step"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.causal || model.name == "tiny"
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let (batch, heads, width) = (size.batch, size.model.heads, size.model.head_width);
        let cache = [batch, size.len, heads, width];
        vec![
            Argument::within("query", [batch, heads, width], -2.0, 2.0),
            Argument::within("key_cache", cache, -2.0, 2.0),
            Argument::within("value_cache", cache, -2.0, 2.0),
        ]
    }

    fn run(&self, size: &Size, mut given: Given) -> Results {
        let (query, key, value) = (given.take(), given.take(), given.take());
        row(softmax_attention_step(query, key, value, size.len))
    }

    fn reference(&self, size: &Size, mut given: Given) -> Results {
        let query = given.take::<3>().unsqueeze_dim::<4>(1);
        let (queries, keys) = (
            Lengths::full(size.batch, 1),
            Lengths::full(size.batch, size.len),
        );
        let (key, value) = (given.take(), given.take());
        row(reference::attend(query, key, value, &queries, &keys, false))
    }

    /// Reads the query and both caches, writes one row. For each head and position a product of P for the score and one for the
    /// sum, and five for the softmax.
    fn forward(&self, size: &Size) -> Work {
        let (hidden, width) = (size.model.hidden as f64, size.model.head_width as f64);
        let batch = size.batch as f64;
        Work::new(
            2.0 * size.values(size.model.hidden) + 2.0 * batch * hidden,
            size.values(size.model.heads) * (4.0 * width + 5.0),
        )
    }

    /// Generation is not trained through.
    fn backward(&self, _: &Size) -> Option<Work> {
        None
    }
}
