//! The Gaussian error linear unit (Hendrycks & Gimpel 2016, arXiv 1606.08415), exact form.

pub mod reference;

use burn::tensor::Tensor;

/// x · Φ(x) = x/2 · (1 + erf(x/√2)), elementwise (Hugging Face's `"gelu"`).
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    reference::gelu(x)
}
