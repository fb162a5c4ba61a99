//! One position of the convolution, for decoding.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeBackend;

use super::{MAX_WIDTH, cpu, launch, reference};

/// The next position of [`causal_conv1d`](crate::causal_conv1d()): `(y, state)` from `x` `[B, D]` and `state` `[B, D, W - 1]`, the
/// inputs before it, oldest first.
///
/// `weight` is `[D, W]`, `bias` `[D]`; `y` is `[B, D]`, the new state ends with `x`. All lie on a device without autodiff. Tensors
/// that are not of f32, and filters of width 1 or wider than [`MAX_WIDTH`], take
/// [the plain form](reference::causal_conv1d_step).
///
/// # Panics
/// When the shapes disagree or W is 0.
pub fn causal_conv1d_step(
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    state: Tensor<3>,
    silu: bool,
) -> (Tensor<2>, Tensor<3>) {
    let [batch, channels] = x.dims();
    let width = weight.dims()[1];
    let bias_dims = bias.as_ref().map(|bias| bias.dims());
    assert!(
        weight.dims()[0] == channels
            && width > 0
            && bias_dims.is_none_or(|dims| dims == [channels])
            && state.dims() == [batch, channels, width - 1],
        "causal_conv1d_step: x is [B, D] = {:?}, so weight must be [D, W], bias [D], state [B, D, W - 1]; \
         found {:?}, {bias_dims:?}, {:?}",
        x.dims(),
        weight.dims(),
        state.dims(),
    );
    let f32 = [x.dtype(), weight.dtype(), state.dtype()] == [DType::F32; 3]
        && bias.as_ref().is_none_or(|bias| bias.dtype() == DType::F32);
    if !f32 || width == 1 || width > MAX_WIDTH || x.dims().contains(&0) {
        return reference::causal_conv1d_step(x, weight, bias, state, silu);
    }
    let bias = bias.unwrap_or_else(|| Tensor::zeros([channels], &x.device()));
    let (y, state) = Dispatch::fused_causal_conv1d_step(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        state.into_dispatch(),
        silu,
    );
    (Tensor::from_dispatch(y), Tensor::from_dispatch(state))
}

/// One position of the convolution as an operation of the dispatching backend; called through [`causal_conv1d_step`].
#[backend_extension(Cube, Flex)]
pub trait ConvStepOps: Backend {
    /// `(y, state)`.
    fn fused_causal_conv1d_step(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        state: FloatTensor<Self>,
        silu: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

macro_rules! step {
    ($backend:ty, $module:ident) => {
        impl ConvStepOps for $backend {
            fn fused_causal_conv1d_step(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                state: FloatTensor<Self>,
                silu: bool,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                $module::step(x, weight, bias, state, silu)
            }
        }
    };
}

step!(CubeBackend, launch);
step!(Flex, cpu);
