//! Linear attention with the feature map φ(x) = elu(x) + 1 (Katharopoulos et al. 2020, arXiv 2006.16236) over right-padded
//! batches, by key padding or causal. Causal attention goes in chunks: sums over each chunk, carried sums, a masked product
//! inside the chunk; no L × L matrix, and no state for every position.

pub(crate) mod case;
mod cpu;
mod launch;
mod products;
pub mod reference;
pub mod step;
#[cfg(test)]
mod tests;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_cubecl::CubeBackend;

use crate::Lengths;

/// Added to the normaliser φ(q)·z, so that it is not zero where every φ(k) is.
pub const EPS: f64 = 1e-6;

/// What [`linear_attention`] gives.
#[derive(Debug, Clone)]
pub struct LinearAttentionOutput {
    /// `[B, L, H, P]`; zero at padded positions.
    pub y: Tensor<4>,
    /// Σ φ(k) vᵀ over the real positions, `[B, H, P, P]`, features of the key by columns of the value. No gradient flows
    /// through it.
    pub kv: Tensor<4>,
    /// Σ φ(k) over the real positions, `[B, H, P]`. No gradient flows through it.
    pub z: Tensor<3>,
}

/// `y_i = φ(q_i)ᵀ S / (φ(q_i)·z + 1e-6)` with `S = Σ φ(k_j) v_jᵀ` and `z = Σ φ(k_j)`, φ(x) = elu(x) + 1, over the real positions
/// of each sample, with `causal` over j ≤ i.
///
/// `query`, `key`, `value`: `[B, L, H, P]`; queries are not scaled. Gradients at padded positions are zero, whatever the
/// upstream gradient is there.
///
/// Memory beside inputs and outputs, in values for each sample, on the GPU: L/C · H · P · (P + 1) of chunk sums, with C = 256
/// positions, causal C = 64, and L · H of normalisers; both are kept for the backward pass, which takes as many sums again and
/// 2 · L · H. A batch whose sums or weights pass one binding of a browser goes through in rounds, and keeps no sums. Causal attention takes 64 · L · H more within either pass, for the weights of the pairs inside the chunks. On the CPU the
/// sums of one chunk for each thread. Tensors that are not of f32 take [the plain form](mod@reference).
///
/// # Panics
/// When the shapes differ, `lengths` is of another batch, or a sample is longer than L; on a GPU where one sample alone passes a
/// binding: causal from L · H = 524,288 on.
pub fn linear_attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    lengths: &Lengths,
    causal: bool,
) -> LinearAttentionOutput {
    assert!(
        key.dims() == query.dims() && value.dims() == query.dims(),
        "linear_attention: query, key and value must have one shape [B, L, H, P]; found {:?}, {:?} and {:?}",
        query.dims(),
        key.dims(),
        value.dims()
    );
    assert!(
        lengths.batch() == query.dims()[0],
        "linear_attention: query has {} samples, the lengths are of {}",
        query.dims()[0],
        lengths.batch()
    );
    assert!(
        lengths.max() <= query.dims()[1],
        "linear_attention: {} positions a sample, found a length of {}",
        query.dims()[1],
        lengths.max()
    );
    let f32 = [query.dtype(), key.dtype(), value.dtype()] == [DType::F32; 3];
    if !f32 || query.dims().contains(&0) {
        return reference::linear_attention(query, key, value, lengths, causal);
    }
    let (y, kv, z) = Dispatch::fused_linear_attention(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        lengths.clone(),
        causal,
    );
    LinearAttentionOutput {
        y: Tensor::from_dispatch(y),
        kv: Tensor::from_dispatch(kv),
        z: Tensor::from_dispatch(z),
    }
}

/// Linear attention as an operation of the dispatching backend; called through [`linear_attention`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait LinearAttentionOps: Backend {
    /// `(y [B, L, H, P], kv [B, H, P, P], z [B, H, P])` from three `[B, L, H, P]`.
    fn fused_linear_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        lengths: Lengths,
        causal: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// Results of a forward pass.
#[derive(Debug, Clone)]
pub struct Forward<T> {
    /// `[B, L, H, P]`
    y: T,
    /// `[B, H, P, P]`
    kv: T,
    /// `[B, H, P]`
    z: T,
    /// φ(q)·z + eps, `[B, L, H]`
    normaliser: T,
    /// Sums of the chunks, where the backward pass takes them; in the backend's own layout.
    states: Option<T>,
}

/// What the backward pass needs.
#[derive(Debug, Clone)]
pub struct Saved<T> {
    /// query, key, value
    inputs: [T; 3],
    forward: Forward<T>,
    lengths: Lengths,
    causal: bool,
}

/// Both passes, on the backends that execute.
pub trait LinearAttentionPasses: Backend {
    /// Results and what the backward pass needs.
    fn linear_attention_forward(
        inputs: [FloatTensor<Self>; 3],
        lengths: &Lengths,
        causal: bool,
    ) -> Forward<FloatTensor<Self>>;

    /// `[dquery, dkey, dvalue]` from the gradient of y.
    fn linear_attention_backward(
        saved: Saved<FloatTensor<Self>>,
        gradient: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3];
}

macro_rules! passes {
    ($backend:ty, $module:ident) => {
        impl LinearAttentionOps for $backend {
            fn fused_linear_attention(
                query: FloatTensor<Self>,
                key: FloatTensor<Self>,
                value: FloatTensor<Self>,
                lengths: Lengths,
                causal: bool,
            ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
                let out = $module::forward([query, key, value], &lengths, causal);
                (out.y, out.kv, out.z)
            }
        }

        impl LinearAttentionPasses for $backend {
            fn linear_attention_forward(
                inputs: [FloatTensor<Self>; 3],
                lengths: &Lengths,
                causal: bool,
            ) -> Forward<FloatTensor<Self>> {
                $module::forward(inputs, lengths, causal)
            }

            fn linear_attention_backward(
                saved: Saved<FloatTensor<Self>>,
                gradient: FloatTensor<Self>,
            ) -> [FloatTensor<Self>; 3] {
                $module::backward(saved, gradient)
            }
        }
    };
}

passes!(CubeBackend, launch);
passes!(Flex, cpu);

#[derive(Debug)]
struct LinearAttentionStep;

impl<B: LinearAttentionPasses> Backward<B, 3> for LinearAttentionStep {
    type State = Saved<B::FloatTensorPrimitive>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let nodes = ops.parents;
        let gradient = grads.consume::<B>(&ops.node);
        let gradients = B::linear_attention_backward(ops.state, gradient);
        for (node, gradient) in nodes.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: LinearAttentionOps + LinearAttentionPasses, C: CheckpointStrategy> LinearAttentionOps
    for Autodiff<B, C>
{
    fn fused_linear_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        lengths: Lengths,
        causal: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [query.node(), key.node(), value.node()];
        let inputs = [query, key, value].map(|tensor| tensor.into_primitive());
        let (y, kv, z) = match LinearAttentionStep
            .prepare::<C>(nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let forward = B::linear_attention_forward(inputs.clone(), &lengths, causal);
                let (y, kv, z) = (forward.y.clone(), forward.kv.clone(), forward.z.clone());
                let saved = Saved {
                    inputs,
                    forward,
                    lengths,
                    causal,
                };
                (prep.finish(saved, y), kv, z)
            }
            OpsKind::UnTracked(prep) => {
                let [query, key, value] = inputs;
                let (y, kv, z) = B::fused_linear_attention(query, key, value, lengths, causal);
                (prep.finish(y), kv, z)
            }
        };
        (y, Self::from_inner(kv), Self::from_inner(z))
    }
}
