//! Length-aware reversal of time, round the backward direction of a bidirectional scan: the padding stays at the right.

mod case;
mod cpu;
mod launch;
pub mod reference;
#[cfg(test)]
mod tests;

pub(crate) use case::check_case;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_cubecl::CubeBackend;

use crate::Lengths;

/// `y[b, t] = x[b, n - 1 - t]` for `t < n`, the length of the sample, and 0 after it. `x` and `y` are `[B, L, D]`.
///
/// TensorFlow's `reverse_sequence`, but that the padding becomes zero. Its own inverse on the real positions, and its own gradient: the
/// graph keeps no tensor for it, and there is no buffer beyond input and output (on the CPU a tensor that nobody else holds is changed
/// in place). Tensors that are not of f32 take [`reference::reverse_padded`].
///
/// # Panics
/// When `lengths` is of another batch or a sample is longer than L.
pub fn reverse_padded(x: Tensor<3>, lengths: &Lengths) -> Tensor<3> {
    let [batch, len, _] = x.dims();
    assert!(
        lengths.batch() == batch && lengths.max() <= len,
        "reverse_padded: x is [B, L, D] = {:?}, so B lengths of at most L; found {:?}",
        x.dims(),
        lengths.as_slice()
    );
    if x.dims().contains(&0) {
        return x;
    }
    if x.dtype() != DType::F32 {
        return reference::reverse_padded(x, lengths);
    }
    Tensor::from_dispatch(Dispatch::fused_reverse_padded(
        x.into_dispatch(),
        lengths.clone(),
    ))
}

/// The reversal as an operation of the dispatching backend; called through [`reverse_padded`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait ReverseOps: Backend {
    /// `x` `[B, L, D]`.
    fn fused_reverse_padded(x: FloatTensor<Self>, lengths: Lengths) -> FloatTensor<Self>;
}

impl ReverseOps for CubeBackend {
    fn fused_reverse_padded(x: FloatTensor<Self>, lengths: Lengths) -> FloatTensor<Self> {
        launch::reverse(x, &lengths)
    }
}

impl ReverseOps for Flex {
    fn fused_reverse_padded(x: FloatTensor<Self>, lengths: Lengths) -> FloatTensor<Self> {
        cpu::reverse(x, &lengths)
    }
}

#[derive(Debug)]
struct ReverseStep;

impl<B: ReverseOps> Backward<B, 1> for ReverseStep {
    type State = Lengths;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node] = ops.parents;
        let gradient = grads.consume::<B>(&ops.node);
        if let Some(node) = node {
            let gradient = B::fused_reverse_padded(gradient, ops.state);
            grads.register::<B>(node.id, gradient);
        }
    }
}

impl<B: ReverseOps, C: CheckpointStrategy> ReverseOps for Autodiff<B, C> {
    fn fused_reverse_padded(x: FloatTensor<Self>, lengths: Lengths) -> FloatTensor<Self> {
        let nodes = [x.node()];
        let x = x.into_primitive();
        match ReverseStep.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::fused_reverse_padded(x, lengths.clone());
                prep.finish(lengths, y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_reverse_padded(x, lengths)),
        }
    }
}
