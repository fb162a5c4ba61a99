//! Rotary positions (Su et al. 2021, arXiv 2104.09864) on the queries and keys of a packed projection, as GPT-NeoX has them
//! (Black et al. 2022, arXiv 2204.06745).

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

/// Query, key and value `[B, L, H, P]` of a packed projection `[B, L, H, 3 P]`, queries and keys rotated: of their first R
/// dimensions, (a, b) of the two halves becomes (a cos - b sin, b cos + a sin); the rest stays.
///
/// `cos` and `sin` are `[L, R / 2]`, R at most P, outside of any graph; R of 0 only takes the parts out. One pass over the
/// packed values in place of some fifteen small ones; its gradient is the opposite rotation, so that the graph keeps the two
/// tables alone. Tensors that are not of f32 take [`reference::rotary`].
///
/// # Panics
/// When the shapes disagree.
pub fn rotary(packed: Tensor<4>, cos: Tensor<2>, sin: Tensor<2>) -> [Tensor<4>; 3] {
    let [batch, len, heads, triple] = packed.dims();
    let [rows, half] = cos.dims();
    let width = triple / 3;
    assert!(
        triple == 3 * width && rows == len && sin.dims() == cos.dims() && 2 * half <= width,
        "rotary: packed [B, L, H, 3 P], cos and sin [L, R / 2] with R at most P; found {:?}, {:?} and {:?}",
        packed.dims(),
        cos.dims(),
        sin.dims()
    );
    let f32 = [packed.dtype(), cos.dtype(), sin.dtype()] == [DType::F32; 3];
    if !f32 || half == 0 || packed.dims().contains(&0) {
        return reference::rotary(packed, cos, sin);
    }
    let (cos, sin) = (cos.without_autodiff(), sin.without_autodiff());
    let turned: Tensor<5> = Tensor::from_dispatch(Dispatch::rotary_parts(
        packed.into_dispatch(),
        cos.into_dispatch(),
        sin.into_dispatch(),
    ));
    [0, 1, 2].map(|part| {
        let part = turned.clone().narrow(0, part, 1);
        part.reshape([batch, len, heads, width])
    })
}

/// The rotation as an operation of the dispatching backend; called through [`rotary`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait RotaryOps: Backend {
    /// `[3, B, L, H, P]` of `[B, L, H, 3 P]`.
    fn rotary_parts(
        packed: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// The backward pass, on the backends that execute.
pub trait RotaryBackward: Backend {
    /// Gradient `[B, L, H, 3 P]` of the packed projection from that of the parts `[3, B, L, H, P]`.
    fn rotary_gradient(
        parts: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

macro_rules! rotations {
    ($backend:ty, $module:ident) => {
        impl RotaryOps for $backend {
            fn rotary_parts(
                packed: FloatTensor<Self>,
                cos: FloatTensor<Self>,
                sin: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                $module::take_apart(packed, cos, sin)
            }
        }

        impl RotaryBackward for $backend {
            fn rotary_gradient(
                parts: FloatTensor<Self>,
                cos: FloatTensor<Self>,
                sin: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                $module::put_together(parts, cos, sin)
            }
        }
    };
}

rotations!(CubeBackend, launch);
rotations!(Flex, cpu);

#[derive(Debug)]
struct RotaryStep;

impl<B: RotaryBackward> Backward<B, 1> for RotaryStep {
    /// cos, sin
    type State = (B::FloatTensorPrimitive, B::FloatTensorPrimitive);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node] = ops.parents;
        let gradient = grads.consume::<B>(&ops.node);
        if let Some(node) = node {
            let (cos, sin) = ops.state;
            grads.register::<B>(node.id, B::rotary_gradient(gradient, cos, sin));
        }
    }
}

impl<B: RotaryOps + RotaryBackward, C: CheckpointStrategy> RotaryOps for Autodiff<B, C> {
    fn rotary_parts(
        packed: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [packed.node()];
        let packed = packed.into_primitive();
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        match RotaryStep.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let parts = B::rotary_parts(packed, cos.clone(), sin.clone());
                prep.finish((cos, sin), parts)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::rotary_parts(packed, cos, sin)),
        }
    }
}
