//! The linear layer.

use burn::tensor::Tensor;
use caldera_shaders::linear;

use super::parameters;

/// x Wᵀ + b.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    /// [out, in]
    pub weight: Tensor<2>,
    /// [out]
    pub bias: Option<Tensor<1>>,
}
parameters!(Linear { weight => "weight", bias => "bias" });

impl Linear {
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        linear(x, self.weight.clone(), self.bias.clone())
    }
}
