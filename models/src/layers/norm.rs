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

/// Root mean square norm over the last dimension: weight x / √(mean x² + eps).
#[derive(Debug, Clone)]
pub(crate) struct RmsNorm {
    /// [H]
    pub weight: Tensor<1>,
}
parameters!(RmsNorm { weight => "weight" });

impl RmsNorm {
    pub fn forward<const D: usize>(&self, x: Tensor<D>, eps: f64) -> Tensor<D> {
        let scale = x.clone().square().mean_dim(D - 1).add_scalar(eps).sqrt();
        let [width] = self.weight.dims();
        let mut shape = [1; D];
        shape[D - 1] = width;
        x / scale * self.weight.clone().reshape(shape)
    }
}
