//! Softmax attention, causal where the model is.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::{Lengths, softmax_attention};

pub(super) struct SoftmaxAttention;

/// Pairs of a query and a key that it sees, all heads together.
fn pairs(size: &Size) -> f64 {
    let len = size.len as f64;
    let seen = if size.model.causal {
        len * (len + 1.0) / 2.0
    } else {
        len * len
    };
    (size.batch * size.model.heads) as f64 * seen
}

impl Operator for SoftmaxAttention {
    fn name(&self) -> &'static str {
        "softmax_attention"
    }

    fn applies(&self, _: &ModelShape) -> bool {
        true
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
        row(softmax_attention(q, k, v, &lengths, size.model.causal))
    }

    fn reference(&self, size: &Size, mut given: Given) -> Results {
        use caldera_shaders::softmax_attention::reference::softmax_attention;
        let lengths = Lengths::full(size.batch, size.len);
        let [q, k, v] = std::array::from_fn(|_| given.take::<4>());
        row(softmax_attention(q, k, v, &lengths, size.model.causal))
    }

    /// Reads Q, K, V, writes O. For each pair a product of P for the score and one for the sum, and the softmax: scale, maximum,
    /// difference, exponential, sum.
    fn forward(&self, size: &Size) -> Work {
        let width = size.model.head_width as f64;
        Work::new(
            4.0 * size.values(size.model.hidden),
            pairs(size) * (4.0 * width + 5.0),
        )
    }

    /// Reads Q, K, V, O, dO and a logarithm a row, writes dQ, dK, dV. Five products a pair (the score again, dP, dV, dQ, dK), and
    /// exponential, two differences, two scalings.
    fn backward(&self, size: &Size) -> Option<Work> {
        let width = size.model.head_width as f64;
        Some(Work::new(
            8.0 * size.values(size.model.hidden) + size.values(size.model.heads),
            pairs(size) * (10.0 * width + 5.0),
        ))
    }

    /// Half a dozen matrices of a value a pair, masked ones included.
    fn reference_bytes(&self, size: &Size) -> f64 {
        let len = size.len as f64;
        24.0 * (size.batch * size.model.heads) as f64 * len * len
    }
}
