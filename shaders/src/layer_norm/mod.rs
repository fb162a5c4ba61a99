//! Layer normalisation over the last dimension (Ba, Kiros & Hinton 2016, arXiv 1607.06450), forward and backward fused.

mod cpu;
mod launch;
pub mod reference;
#[cfg(test)]
mod tests;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_cubecl::CubeBackend;

/// y = (x − mean) / √(variance + eps) · weight + bias over the last dimension.
///
/// `x` is `[.., width]`, `weight` and `bias` `[width]`; the variance is the biased one, as in PyTorch. Mean and
/// 1/√(variance + eps) of each row are kept for the backward pass: 2 · rows values, and on a GPU the backward pass holds
/// 2 · ⌈rows/64⌉ · width partial sums for the gradients of weight and bias. Tensors that are not of f32 take [`reference::layer_norm`].
///
/// # Panics
/// When `weight` or `bias` is not as long as the last dimension of `x`.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    let width = x.dims()[D - 1];
    assert!(
        weight.dims() == [width] && bias.dims() == [width],
        "layer_norm: x is {:?}, so weight and bias must be [{width}]; found {:?} and {:?}",
        x.dims(),
        weight.dims(),
        bias.dims()
    );
    let f32 = [x.dtype(), weight.dtype(), bias.dtype()] == [DType::F32; 3];
    if !f32 || x.dims().contains(&0) {
        return reference::layer_norm(x, weight, bias, eps);
    }
    Tensor::from_dispatch(Dispatch::fused_layer_norm(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        eps,
    ))
}

/// Layer normalisation as an operation of the dispatching backend; called through [`layer_norm`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait LayerNormOps: Backend {
    /// `x` `[.., width]`, `weight` and `bias` `[width]`.
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
}

/// Both passes, on the backends that execute.
pub trait LayerNormPasses: Backend {
    /// `(y, stats)`, stats `[rows, 2]` with mean and 1/√(variance + eps) of each row.
    fn layer_norm_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// `(dx, dweight, dbias)`.
    fn layer_norm_backward(
        x: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

macro_rules! passes {
    ($backend:ty, $module:ident) => {
        impl LayerNormOps for $backend {
            fn fused_layer_norm(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                eps: f64,
            ) -> FloatTensor<Self> {
                $module::forward(x, weight, bias, eps).0
            }
        }

        impl LayerNormPasses for $backend {
            fn layer_norm_forward(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                eps: f64,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                $module::forward(x, weight, bias, eps)
            }

            fn layer_norm_backward(
                x: FloatTensor<Self>,
                stats: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                dy: FloatTensor<Self>,
            ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
                $module::backward(x, stats, weight, dy)
            }
        }
    };
}

passes!(CubeBackend, launch);
passes!(Flex, cpu);

#[derive(Debug)]
struct LayerNormStep;

impl<B: LayerNormPasses> Backward<B, 3> for LayerNormStep {
    /// x, stats, weight
    type State = [B::FloatTensorPrimitive; 3];

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let nodes = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let [x, stats, weight] = ops.state;
        let (dx, dweight, dbias) = B::layer_norm_backward(x, stats, weight, dy);
        for (node, gradient) in nodes.into_iter().zip([dx, dweight, dbias]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: LayerNormOps + LayerNormPasses, C: CheckpointStrategy> LayerNormOps for Autodiff<B, C> {
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let (x, weight, bias) = (
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
        );
        match LayerNormStep.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (y, stats) = B::layer_norm_forward(x.clone(), weight.clone(), bias, eps);
                prep.finish([x, stats, weight], y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_layer_norm(x, weight, bias, eps)),
        }
    }
}
