//! The linear layer with a weight of 16-bit floats, forward only.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;
use burn_cubecl::CubeBackend;

use super::{LinearOps, launch};
use crate::sixteen_bit::{WidenOps, widen};

/// [`linear`](super::linear) of an f32 `x` with a weight of 16-bit floats.
pub(super) fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let [width_out, width_in] = weight.dims();
    let bias = bias.map(widen);
    let autodiff = x.is_autodiff() || bias.as_ref().is_some_and(Tensor::is_autodiff);
    let empty = x.dims().contains(&0) || width_out == 0;
    if autodiff || empty || !width_in.is_multiple_of(4) {
        // Outside of any graph the weight is a constant of the product.
        return super::linear(x, widen(weight), bias);
    }
    let (x, weight) = (x.into_dispatch(), weight.without_autodiff().into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => Dispatch::packed_linear_with_bias(x, weight, bias.into_dispatch()),
        None => Dispatch::packed_linear_without_bias(x, weight),
    })
}

/// The product with a weight of 16-bit floats as an operation of the dispatching backend.
#[backend_extension(Cube, Flex)]
pub trait PackedLinearOps: Backend {
    /// x Wᵀ + b.
    fn packed_linear_with_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// x Wᵀ.
    fn packed_linear_without_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl PackedLinearOps for CubeBackend {
    fn packed_linear_with_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        launch::forward(x, weight, Some(bias))
    }

    fn packed_linear_without_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        launch::forward(x, weight, None)
    }
}

impl PackedLinearOps for Flex {
    fn packed_linear_with_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::linear_with_bias(x, Self::fused_widen(weight), bias)
    }

    fn packed_linear_without_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        Self::linear_without_bias(x, Self::fused_widen(weight))
    }
}
