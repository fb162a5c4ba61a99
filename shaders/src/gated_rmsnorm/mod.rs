//! The gated RMS normalisation of Mamba-2 (Dao & Gu 2024, arXiv 2405.21060, section 7.1; `RMSNormGated` with the gate before the
//! norm), forward and backward fused.

pub(crate) mod case;
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

/// y = weight · g / √(mean(g²) + eps), g = x · silu(z), the mean over each of `groups` equal slices of the last dimension.
///
/// `x` and `z` are `[B, L, D]`, `weight` `[D]`; the result is `[B, L, D]`. 1/√(mean(g²) + eps) of each slice is kept for the
/// backward pass. Tensors that are not of f32 take [`reference::gated_rmsnorm`].
///
/// Memory beside inputs and outputs, in values: B · L · groups kept for the backward pass, which on the GPU takes B · L / 64 · D of
/// partial sums for the gradient of `weight` (64 rows a sum).
///
/// # Panics
/// When `z` or `weight` does not fit `x`, or D is no multiple of `groups`.
pub fn gated_rmsnorm(
    x: Tensor<3>,
    z: Tensor<3>,
    weight: Tensor<1>,
    groups: usize,
    eps: f64,
) -> Tensor<3> {
    let width = x.dims()[2];
    assert!(
        z.dims() == x.dims() && weight.dims() == [width],
        "gated_rmsnorm: x is {:?}, so z must be too and weight [{width}]; found {:?} and {:?}",
        x.dims(),
        z.dims(),
        weight.dims()
    );
    assert!(
        groups > 0 && width.is_multiple_of(groups),
        "gated_rmsnorm: {width} channels cannot be cut into {groups} groups"
    );
    let f32 = [x.dtype(), z.dtype(), weight.dtype()] == [DType::F32; 3];
    if !f32 || x.dims().contains(&0) {
        return reference::gated_rmsnorm(x, z, weight, groups, eps);
    }
    Tensor::from_dispatch(Dispatch::fused_gated_rmsnorm(
        x.into_dispatch(),
        z.into_dispatch(),
        weight.into_dispatch(),
        groups,
        eps,
    ))
}

/// The gated norm as an operation of the dispatching backend; called through [`gated_rmsnorm`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait GatedRmsNormOps: Backend {
    /// `x` and `z` `[B, L, D]`, `weight` `[D]`.
    fn fused_gated_rmsnorm(
        x: FloatTensor<Self>,
        z: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        groups: usize,
        eps: f64,
    ) -> FloatTensor<Self>;
}

/// Both passes, on the backends that execute.
pub trait GatedRmsNormPasses: GatedRmsNormOps {
    /// `(y, stats)`, stats `[rows, groups]` with 1/√(mean(g²) + eps).
    fn gated_rmsnorm_forward(
        x: FloatTensor<Self>,
        z: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        groups: usize,
        eps: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// `(dx, dz, dweight)`.
    fn gated_rmsnorm_backward(
        x: FloatTensor<Self>,
        z: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        groups: usize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

macro_rules! passes {
    ($backend:ty, $module:ident) => {
        impl GatedRmsNormOps for $backend {
            fn fused_gated_rmsnorm(
                x: FloatTensor<Self>,
                z: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                groups: usize,
                eps: f64,
            ) -> FloatTensor<Self> {
                $module::forward(x, z, weight, groups, eps).0
            }
        }

        impl GatedRmsNormPasses for $backend {
            fn gated_rmsnorm_forward(
                x: FloatTensor<Self>,
                z: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                groups: usize,
                eps: f64,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                $module::forward(x, z, weight, groups, eps)
            }

            fn gated_rmsnorm_backward(
                x: FloatTensor<Self>,
                z: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                stats: FloatTensor<Self>,
                dy: FloatTensor<Self>,
                groups: usize,
            ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
                $module::backward(x, z, weight, stats, dy, groups)
            }
        }
    };
}

passes!(CubeBackend, launch);
passes!(Flex, cpu);

#[derive(Debug)]
struct GatedRmsNormStep;

impl<B: GatedRmsNormPasses> Backward<B, 3> for GatedRmsNormStep {
    /// x, z, weight, stats; groups
    type State = ([B::FloatTensorPrimitive; 4], usize);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let nodes = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let ([x, z, weight, stats], groups) = ops.state;
        let (dx, dz, dweight) = B::gated_rmsnorm_backward(x, z, weight, stats, dy, groups);
        for (node, gradient) in nodes.into_iter().zip([dx, dz, dweight]) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: GatedRmsNormPasses, C: CheckpointStrategy> GatedRmsNormOps for Autodiff<B, C> {
    fn fused_gated_rmsnorm(
        x: FloatTensor<Self>,
        z: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        groups: usize,
        eps: f64,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), z.node(), weight.node()];
        let [x, z, weight] = [x, z, weight].map(|tensor| tensor.into_primitive());
        match GatedRmsNormStep
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let (y, stats) =
                    B::gated_rmsnorm_forward(x.clone(), z.clone(), weight.clone(), groups, eps);
                prep.finish(([x, z, weight, stats], groups), y)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::fused_gated_rmsnorm(x, z, weight, groups, eps))
            }
        }
    }
}
