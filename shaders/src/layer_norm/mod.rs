//! Layer normalisation over the last dimension (Ba, Kiros & Hinton 2016, arXiv 1607.06450).

pub mod reference;

use burn::tensor::Tensor;

/// y = (x − mean) / √(variance + eps) · weight + bias over the last dimension.
///
/// `x` is `[.., width]`, `weight` and `bias` `[width]`; the variance is the biased one, as in PyTorch.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    reference::layer_norm(x, weight, bias, eps)
}
