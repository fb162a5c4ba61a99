//! The Gaussian error linear unit (Hendrycks & Gimpel 2016, arXiv 1606.08415), exact form, forward and backward fused.

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

/// x · Φ(x) = x/2 · (1 + erf(x/√2)), elementwise (Hugging Face's `"gelu"`), to about 4e-7 absolute.
///
/// No buffer beyond input and output; the graph keeps x for the backward pass. Tensors that are not of f32 take [`reference::gelu`].
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if x.dtype() != DType::F32 {
        return reference::gelu(x);
    }
    Tensor::from_dispatch(Dispatch::fused_gelu(x.into_dispatch()))
}

/// GELU as an operation of the dispatching backend; called through [`gelu`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait GeluOps: Backend {
    /// x · Φ(x).
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The derivative, on the backends that execute.
pub trait GeluBackward: Backend {
    /// dy · (Φ(x) + x φ(x)).
    fn fused_gelu_backward(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl GeluOps for CubeBackend {
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        launch::forward(x)
    }
}

impl GeluBackward for CubeBackend {
    fn fused_gelu_backward(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        launch::backward(x, dy)
    }
}

impl GeluOps for Flex {
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        cpu::forward(x)
    }
}

impl GeluBackward for Flex {
    fn fused_gelu_backward(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        cpu::backward(x, dy)
    }
}

#[derive(Debug)]
struct GeluStep;

impl<B: GeluBackward> Backward<B, 1> for GeluStep {
    type State = B::FloatTensorPrimitive;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node] = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        if let Some(node) = node {
            grads.register::<B>(node.id, B::fused_gelu_backward(ops.state, dy));
        }
    }
}

impl<B: GeluOps + GeluBackward, C: CheckpointStrategy> GeluOps for Autodiff<B, C> {
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let node = x.node();
        match GeluStep.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                prep.finish(x.clone(), B::fused_gelu(x))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_gelu(x.into_primitive())),
        }
    }
}
