//! Softmax attention over right-padded batches, by key padding or causal: tiles with an online softmax (Dao et al. 2022,
//! arXiv 2205.14135), so that memory grows with L and not with L².

mod cpu;
pub mod decode;
mod launch;
pub mod reference;
#[cfg(test)]
pub(crate) mod tests;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_cubecl::CubeBackend;

use crate::Lengths;

/// The widest head that the kernels hold in registers.
pub const MAX_WIDTH: usize = 128;

/// `softmax(Q Kᵀ / √P) V` over the real keys of each sample, and with `causal` over keys at or before the query.
///
/// `query`, `key`, `value`: `[B, L, H, P]`. Result `[B, L, H, P]`; rows at padded positions are zero, and so are the
/// gradients there. Tensors that are not of f32, and heads wider than [`MAX_WIDTH`], take [the plain form](mod@reference).
///
/// Memory beside inputs and outputs, in values: B · L · H for the backward pass (the logarithm of each row's sum), and
/// 2 · B · L · H within it. The scores are never kept, only a tile of them at a time.
///
/// # Panics
/// When the shapes differ, `lengths` is of another batch, or a sample is longer than L.
pub fn softmax_attention(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    lengths: &Lengths,
    causal: bool,
) -> Tensor<4> {
    let visible = Visible {
        queries: lengths.clone(),
        keys: lengths.clone(),
        causal,
    };
    attend(query, key, value, visible)
}

/// Attention whose queries and keys have numbers and lengths of their own: `query` `[B, Lq, H, P]`, `key` and `value`
/// `[B, Lk, H, P]`, result `[B, Lq, H, P]`. A row that sees no key is zero.
///
/// # Panics
/// When the shapes do not fit each other or the lengths.
pub fn attend(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>, visible: Visible) -> Tensor<4> {
    let [batch, len, heads, width] = query.dims();
    let [key_batch, key_len, key_heads, key_width] = key.dims();
    assert!(
        [key_batch, key_heads, key_width] == [batch, heads, width]
            && value.dims() == [batch, key_len, heads, width],
        "softmax_attention: query is {:?}, so key and value must agree in all but dimension 1; found {:?} and {:?}",
        query.dims(),
        key.dims(),
        value.dims()
    );
    assert!(
        visible.queries.batch() == batch && visible.keys.batch() == batch,
        "softmax_attention: query has {batch} samples, the lengths are of {} and {}",
        visible.queries.batch(),
        visible.keys.batch()
    );
    assert!(
        visible.queries.max() <= len && visible.keys.max() <= key_len,
        "softmax_attention: {len} queries and {key_len} keys a sample, found lengths of up to {} and {}",
        visible.queries.max(),
        visible.keys.max()
    );
    let f32 = [query.dtype(), key.dtype(), value.dtype()] == [DType::F32; 3];
    if !f32 || width > MAX_WIDTH || query.dims().contains(&0) || key_len == 0 {
        return reference::attend(
            query,
            key,
            value,
            &visible.queries,
            &visible.keys,
            visible.causal,
        );
    }
    Tensor::from_dispatch(Dispatch::fused_attention(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        visible,
    ))
}

/// Which keys a query sees.
#[derive(Debug, Clone)]
pub struct Visible {
    /// Real queries of each sample.
    pub queries: Lengths,
    /// Real keys of each sample.
    pub keys: Lengths,
    /// Query i sees only keys 0 to i.
    pub causal: bool,
}

/// Attention as an operation of the dispatching backend; called through [`attend`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait AttentionOps: Backend {
    /// `query` `[B, Lq, H, P]`, `key` and `value` `[B, Lk, H, P]`.
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        visible: Visible,
    ) -> FloatTensor<Self>;
}

/// Both passes, on the backends that execute.
pub trait AttentionPasses: Backend {
    /// `(out, lse)`: lse `[B, Lq, H]` is the logarithm of each row's sum of exponentials, in the backend's own base.
    fn attention_forward(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        visible: &Visible,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// `[dquery, dkey, dvalue]` from `saved` (query, key, value, out, lse) and the gradient of out.
    fn attention_backward(
        saved: [FloatTensor<Self>; 5],
        gradient: FloatTensor<Self>,
        visible: &Visible,
    ) -> [FloatTensor<Self>; 3];
}

macro_rules! passes {
    ($backend:ty, $module:ident) => {
        impl AttentionOps for $backend {
            fn fused_attention(
                query: FloatTensor<Self>,
                key: FloatTensor<Self>,
                value: FloatTensor<Self>,
                visible: Visible,
            ) -> FloatTensor<Self> {
                $module::forward(query, key, value, &visible).0
            }
        }

        impl AttentionPasses for $backend {
            fn attention_forward(
                query: FloatTensor<Self>,
                key: FloatTensor<Self>,
                value: FloatTensor<Self>,
                visible: &Visible,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                $module::forward(query, key, value, visible)
            }

            fn attention_backward(
                saved: [FloatTensor<Self>; 5],
                gradient: FloatTensor<Self>,
                visible: &Visible,
            ) -> [FloatTensor<Self>; 3] {
                $module::backward(saved, gradient, visible)
            }
        }
    };
}

passes!(CubeBackend, launch);
passes!(Flex, cpu);

#[derive(Debug)]
struct AttentionStep;

impl<B: AttentionPasses> Backward<B, 3> for AttentionStep {
    /// query, key, value, out, lse
    type State = ([B::FloatTensorPrimitive; 5], Visible);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let nodes = ops.parents;
        let gradient = grads.consume::<B>(&ops.node);
        let (saved, visible) = ops.state;
        let gradients = B::attention_backward(saved, gradient, &visible);
        for (node, gradient) in nodes.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: AttentionOps + AttentionPasses, C: CheckpointStrategy> AttentionOps for Autodiff<B, C> {
    fn fused_attention(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        visible: Visible,
    ) -> FloatTensor<Self> {
        let nodes = [query.node(), key.node(), value.node()];
        let [query, key, value] = [query, key, value].map(|tensor| tensor.into_primitive());
        match AttentionStep.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (out, lse) =
                    B::attention_forward(query.clone(), key.clone(), value.clone(), &visible);
                prep.finish(([query, key, value, out.clone(), lse], visible), out)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_attention(query, key, value, visible)),
        }
    }
}
