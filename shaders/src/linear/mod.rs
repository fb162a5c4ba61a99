//! The linear layer y = x Wᵀ + b, with the weight as Hugging Face stores it, forward and backward.

mod cpu;
mod launch;
mod packed;
pub mod reference;
mod select;
#[cfg(test)]
mod tests;
pub(crate) mod tiled;

pub use select::{PRODUCT, Product, select};

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_cubecl::CubeBackend;

use crate::sixteen_bit::is_sixteen_bit;

/// y = x Wᵀ + b. `x` is `[.., in]`, `weight` `[out, in]`, `bias` `[out]`; the result `[.., out]`.
///
/// All dimensions but the last fold into rows. A weight of 16-bit floats is unpacked inside the product where `in` is a multiple of
/// four and nothing is differentiated, and widened first otherwise; it gets no gradient. Other types take [`reference::linear`].
///
/// No buffer beyond input and output, but for a widened weight. The graph keeps x and the weight for the backward pass, which writes
/// their gradients and no more. The layer is torch.nn.Linear, its weight laid out as there.
///
/// # Panics
/// When the shapes disagree.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let [width_out, width_in] = weight.dims();
    let bias_dims = bias.as_ref().map(|bias| bias.dims());
    assert!(
        x.dims()[D - 1] == width_in && bias_dims.is_none_or(|dims| dims == [width_out]),
        "linear: weight [out, in] is {:?}; found x {:?} and bias {bias_dims:?}",
        weight.dims(),
        x.dims()
    );
    if x.dtype() == DType::F32 && is_sixteen_bit(weight.dtype()) {
        return packed::linear(x, weight, bias);
    }
    let f32 = x.dtype() == DType::F32
        && weight.dtype() == DType::F32
        && bias.as_ref().is_none_or(|bias| bias.dtype() == DType::F32);
    if !f32 || x.dims().contains(&0) || width_out == 0 {
        return reference::linear(x, weight, bias);
    }
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => Dispatch::linear_with_bias(x, weight, bias.into_dispatch()),
        None => Dispatch::linear_without_bias(x, weight),
    })
}

/// The linear layer as an operation of the dispatching backend; called through [`linear`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait LinearOps: Backend {
    /// x Wᵀ + b.
    fn linear_with_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    /// x Wᵀ.
    fn linear_without_bias(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The products of the backward pass, on the backends that execute.
pub trait LinearBackward: Backend {
    /// dY W, `[.., in]`.
    fn linear_input_gradient(dy: FloatTensor<Self>, weight: FloatTensor<Self>)
    -> FloatTensor<Self>;
    /// dYᵀ X, `[out, in]`.
    fn linear_weight_gradient(dy: FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Sums over the rows of dY, `[out]`.
    fn linear_bias_gradient(dy: FloatTensor<Self>) -> FloatTensor<Self>;
}

macro_rules! products {
    ($backend:ty, $module:ident) => {
        impl LinearOps for $backend {
            fn linear_with_bias(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                $module::forward(x, weight, Some(bias))
            }

            fn linear_without_bias(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                $module::forward(x, weight, None)
            }
        }

        impl LinearBackward for $backend {
            fn linear_input_gradient(
                dy: FloatTensor<Self>,
                weight: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                $module::input_gradient(dy, weight)
            }

            fn linear_weight_gradient(
                dy: FloatTensor<Self>,
                x: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                $module::weight_gradient(dy, x)
            }

            fn linear_bias_gradient(dy: FloatTensor<Self>) -> FloatTensor<Self> {
                $module::bias_gradient(dy)
            }
        }
    };
}

products!(CubeBackend, launch);
products!(Flex, cpu);

/// Backward of x Wᵀ (two parents) and of x Wᵀ + b (three).
#[derive(Debug)]
struct LinearStep;

impl<B: LinearBackward, const N: usize> Backward<B, N> for LinearStep {
    /// x, weight
    type State = (B::FloatTensorPrimitive, B::FloatTensorPrimitive);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let (x, weight) = ops.state;
        let mut parents = ops.parents.into_iter();
        let mut parent = || parents.next().flatten();
        let (of_x, of_weight, of_bias) = (parent(), parent(), parent());
        if let Some(node) = of_weight {
            grads.register::<B>(node.id, B::linear_weight_gradient(dy.clone(), x));
        }
        if let Some(node) = of_bias {
            grads.register::<B>(node.id, B::linear_bias_gradient(dy.clone()));
        }
        if let Some(node) = of_x {
            grads.register::<B>(node.id, B::linear_input_gradient(dy, weight));
        }
    }
}

impl<B: LinearOps + LinearBackward, C: CheckpointStrategy> LinearOps for Autodiff<B, C> {
    fn linear_with_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let (x, weight, bias) = (
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
        );
        match Backward::<B, 3>::prepare::<C>(LinearStep, nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let y = B::linear_with_bias(x.clone(), weight.clone(), bias);
                prep.finish((x, weight), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::linear_with_bias(x, weight, bias)),
        }
    }

    fn linear_without_bias(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        match Backward::<B, 2>::prepare::<C>(LinearStep, nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let y = B::linear_without_bias(x.clone(), weight.clone());
                prep.finish((x, weight), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::linear_without_bias(x, weight)),
        }
    }
}
