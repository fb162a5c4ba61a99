//! Norms over the last dimension.

use burn::tensor::Tensor;
use caldera_shaders::layer_norm;

use super::parameters;

/// Layer norm over the last dimension.
#[derive(Debug, Clone)]
pub(crate) struct LayerNorm {
    /// [H]
    pub weight: Tensor<1>,
    /// [H]
    pub bias: Tensor<1>,
}
parameters!(LayerNorm { weight => "weight", bias => "bias" });

impl LayerNorm {
    pub fn forward<const D: usize>(&self, x: Tensor<D>, eps: f64) -> Tensor<D> {
        layer_norm(x, self.weight.clone(), self.bias.clone(), eps)
    }
}
