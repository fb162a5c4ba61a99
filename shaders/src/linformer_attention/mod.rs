//! Linformer attention (Wang et al. 2020, arXiv 2006.04768): keys and values are projected from the sample's length to `k`
//! slots first, so that time and memory grow with L.

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

use crate::softmax_attention::{Visible, attend};
use crate::{Lengths, ShapeError};

/// `softmax(Q K'ᵀ / √P) V'` with `K' = Eᵀ[..n] K / √n`, `V' = Fᵀ[..n] V / √n`, `n` the sample's own length.
///
/// `query`, `key`, `value`: `[B, L, H, P]`; `proj_key` (E) and `proj_value` (F): `[max_len, k]`, shared by the heads. Result
/// `[B, L, H, P]`; rows at padded positions are zero, gradients there too.
///
/// Memory beside inputs and outputs, in values: K' and V', 2 · B · k · H · P, and B · L · H for the backward pass (the logarithm
/// of each row's sum); the backward pass takes as much again for the gradients of K' and V', and 2 · B · L · H, and on a GPU
/// ⌈B · H · P / 16,384⌉ · max_len · k for the partial sums of dE and dF. Nothing grows with L².
///
/// # Panics
/// When the shapes differ, with what was found, or a sample is longer than `max_len` or L. Callers with lengths from outside run
/// [`check_lengths`] first and get an error instead.
pub fn linformer_attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    proj_key: Tensor<2>,
    proj_value: Tensor<2>,
    lengths: &Lengths,
) -> Tensor<4> {
    let [batch, len, ..] = query.dims();
    let [_, slots] = proj_key.dims();
    assert!(
        key.dims() == query.dims()
            && value.dims() == query.dims()
            && proj_value.dims() == proj_key.dims(),
        "linformer_attention: query is [B, L, H, P] = {:?}, so key and value must be the same, and proj_key and proj_value \
         [max_len, k] of one shape; found key {:?}, value {:?}, proj_key {:?}, proj_value {:?}",
        query.dims(),
        key.dims(),
        value.dims(),
        proj_key.dims(),
        proj_value.dims()
    );
    assert!(
        lengths.batch() == batch && lengths.max() <= len,
        "linformer_attention: query has {batch} samples of {len} positions, found lengths {:?}",
        lengths.as_slice()
    );
    let key = project(key, proj_key, lengths);
    let value = project(value, proj_value, lengths);
    let keys = Lengths::full(lengths.batch(), slots);
    attend(
        query,
        key,
        value,
        Visible {
            queries: lengths.clone(),
            keys,
            causal: false,
        },
    )
}

/// Whether projections of `max_len` rows can take samples of these lengths.
///
/// # Errors
/// Names the first sample that is too long.
pub fn check_lengths(lengths: &Lengths, max_len: usize) -> Result<(), ShapeError> {
    match lengths
        .as_slice()
        .iter()
        .position(|&length| length as usize > max_len)
    {
        Some(sample) => Err(ShapeError::TooLong {
            sample,
            length: lengths.as_slice()[sample] as usize,
            max_len,
        }),
        None => Ok(()),
    }
}

/// `Eᵀ[..n] X / √n` for each sample: `input` `[B, L, H, P]` and `projection` `[max_len, k]` to `[B, k, H, P]`. Samples of
/// length 0 give zeros.
///
/// # Panics
/// When `lengths` is of another batch, or a sample is longer than `max_len`.
pub fn project(input: Tensor<4>, projection: Tensor<2>, lengths: &Lengths) -> Tensor<4> {
    let max_len = projection.dims()[0];
    let batch = input.dims()[0];
    assert!(
        lengths.batch() == batch,
        "linformer_attention: the input has {batch} samples, the lengths are of {}",
        lengths.batch()
    );
    if let Err(error) = check_lengths(lengths, max_len) {
        panic!("{error}");
    }
    let f32 = [input.dtype(), projection.dtype()] == [DType::F32; 2];
    if !f32 || input.dims().contains(&0) || projection.dims().contains(&0) {
        return reference::project(input, projection, lengths);
    }
    Tensor::from_dispatch(Dispatch::fused_projection(
        input.into_dispatch(),
        projection.into_dispatch(),
        lengths.clone(),
    ))
}

/// The projection to slots as an operation of the dispatching backend; called through [`project`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait ProjectionOps: Backend {
    /// `input` `[B, L, H, P]`, `projection` `[max_len, k]`, result `[B, k, H, P]`.
    fn fused_projection(
        input: FloatTensor<Self>,
        projection: FloatTensor<Self>,
        lengths: Lengths,
    ) -> FloatTensor<Self>;
}

/// The backward passes, on the backends that execute.
pub trait ProjectionPasses: ProjectionOps {
    /// Gradient of the input, `[B, len, H, P]`, from that of the result.
    fn projection_dinput(
        projection: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        len: usize,
        lengths: &Lengths,
    ) -> FloatTensor<Self>;

    /// Gradient of the projection, `[max_len, k]`, summed over the samples.
    fn projection_dprojection(
        input: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        max_len: usize,
        lengths: &Lengths,
    ) -> FloatTensor<Self>;
}

macro_rules! passes {
    ($backend:ty, $module:ident) => {
        impl ProjectionOps for $backend {
            fn fused_projection(
                input: FloatTensor<Self>,
                projection: FloatTensor<Self>,
                lengths: Lengths,
            ) -> FloatTensor<Self> {
                $module::forward(input, projection, &lengths)
            }
        }

        impl ProjectionPasses for $backend {
            fn projection_dinput(
                projection: FloatTensor<Self>,
                gradient: FloatTensor<Self>,
                len: usize,
                lengths: &Lengths,
            ) -> FloatTensor<Self> {
                $module::dinput(projection, gradient, len, lengths)
            }

            fn projection_dprojection(
                input: FloatTensor<Self>,
                gradient: FloatTensor<Self>,
                max_len: usize,
                lengths: &Lengths,
            ) -> FloatTensor<Self> {
                $module::dprojection(input, gradient, max_len, lengths)
            }
        }
    };
}

passes!(CubeBackend, launch);
passes!(Flex, cpu);

#[derive(Debug)]
struct ProjectionStep;

/// What the backward passes need.
#[derive(Debug, Clone)]
struct Saved<T> {
    input: T,
    projection: T,
    len: usize,
    max_len: usize,
    lengths: Lengths,
}

impl<B: ProjectionPasses> Backward<B, 2> for ProjectionStep {
    type State = Saved<B::FloatTensorPrimitive>;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [input, projection] = ops.parents;
        let gradient = grads.consume::<B>(&ops.node);
        let saved = ops.state;
        if let Some(node) = input {
            let gradient = B::projection_dinput(
                saved.projection,
                gradient.clone(),
                saved.len,
                &saved.lengths,
            );
            grads.register::<B>(node.id, gradient);
        }
        if let Some(node) = projection {
            let gradient =
                B::projection_dprojection(saved.input, gradient, saved.max_len, &saved.lengths);
            grads.register::<B>(node.id, gradient);
        }
    }
}

impl<B: ProjectionPasses, C: CheckpointStrategy> ProjectionOps for Autodiff<B, C> {
    fn fused_projection(
        input: FloatTensor<Self>,
        projection: FloatTensor<Self>,
        lengths: Lengths,
    ) -> FloatTensor<Self> {
        use burn::backend::TensorMetadata;
        let nodes = [input.node(), projection.node()];
        let [input, projection] = [input, projection].map(|tensor| tensor.into_primitive());
        match ProjectionStep
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let out = B::fused_projection(input.clone(), projection.clone(), lengths.clone());
                let (len, max_len) = (input.shape()[1], projection.shape()[0]);
                prep.finish(
                    Saved {
                        input,
                        projection,
                        len,
                        max_len,
                        lengths,
                    },
                    out,
                )
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(B::fused_projection(input, projection, lengths))
            }
        }
    }
}
