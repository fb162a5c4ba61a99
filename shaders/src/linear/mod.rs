//! The linear layer y = x Wᵀ + b, with the weight as Hugging Face stores it.

pub mod reference;

use burn::tensor::Tensor;

/// y = x Wᵀ + b. `x` is `[.., in]`, `weight` `[out, in]`, `bias` `[out]`; the result `[.., out]`.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    reference::linear(x, weight, bias)
}
