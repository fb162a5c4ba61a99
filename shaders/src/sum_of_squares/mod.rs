//! Sum of squares of a tensor, for the global norm that gradients are clipped by: one pass, no squared copy.

mod cpu;
mod launch;
#[cfg(test)]
mod tests;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeBackend;

/// Σ x², as a tensor of one value on the device of `x`, which lies on a device without autodiff. The same to the last bit every time, on
/// any number of cores.
///
/// Tensors that are not of f32 take plain tensor operations.
pub fn sum_of_squares<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    if x.dtype() != DType::F32 {
        return x.square().sum();
    }
    Tensor::from_dispatch(Dispatch::fused_sum_of_squares(x.into_dispatch()))
}

/// Sum of squares as an operation of the dispatching backend; called through [`sum_of_squares`].
#[backend_extension(Cube, Flex)]
pub trait SumOfSquaresOps: Backend {
    /// Σ x² as `[1]`.
    fn fused_sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl SumOfSquaresOps for CubeBackend {
    fn fused_sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self> {
        launch::sum(x)
    }
}

impl SumOfSquaresOps for Flex {
    fn fused_sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self> {
        cpu::sum(x)
    }
}
