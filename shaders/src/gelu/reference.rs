//! GELU in plain Burn tensor operations: the named alternative in benchmarks.

use burn::tensor::Tensor;

/// x · Φ(x) with Φ by `erf`; see [`crate::gelu()`].
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    burn::tensor::activation::gelu(x)
}
