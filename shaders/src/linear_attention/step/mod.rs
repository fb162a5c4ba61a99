//! Linear attention of one new token: the sums take its key and value in, then its query reads them. Constant memory a token.

mod cpu;
mod launch;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeBackend;

use super::EPS;
use super::reference::features;

/// The widest head whose features the kernel holds in workgroup memory.
pub const MAX_WIDTH: usize = 1024;

/// `(y, kv, z)`: `kv += φ(k) vᵀ`, `z += φ(k)`, `y = φ(q)ᵀ kv / (φ(q)·z + 1e-6)`, φ(x) = elu(x) + 1 (arXiv 2006.16236, section 3.4).
///
/// `query`, `key`, `value`: `[B, H, P]`; `kv`: `[B, H, P, P]` and `z`: `[B, H, P]` as [`linear_attention`](crate::linear_attention())
/// gives them, zeros before the first token. Forward only: tensors of an autodiff graph must be taken off it (`inner`).
/// Tensors that are not of f32, and heads wider than [`MAX_WIDTH`], take [the plain form](reference()).
///
/// # Panics
/// When the shapes differ.
pub fn linear_attention_step(
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    kv: Tensor<4>,
    z: Tensor<3>,
) -> (Tensor<3>, Tensor<4>, Tensor<3>) {
    let [batch, heads, width] = query.dims();
    assert!(
        [key.dims(), value.dims(), z.dims()] == [query.dims(); 3]
            && kv.dims() == [batch, heads, width, width],
        "linear_attention_step: query is {:?}, so key, value and z must be the same and kv [{batch}, {heads}, {width}, {width}]; \
         found {:?}, {:?}, {:?} and {:?}",
        query.dims(),
        key.dims(),
        value.dims(),
        z.dims(),
        kv.dims()
    );
    let dtypes = [query.dtype(), key.dtype(), value.dtype(), z.dtype()];
    let f32 = dtypes == [DType::F32; 4] && kv.dtype() == DType::F32;
    if !f32 || query.dims().contains(&0) || width > MAX_WIDTH {
        return reference(query, key, value, kv, z);
    }
    let (y, kv, z) = Dispatch::fused_linear_attention_step(
        query.into_dispatch(),
        key.into_dispatch(),
        value.into_dispatch(),
        kv.into_dispatch(),
        z.into_dispatch(),
    );
    (
        Tensor::from_dispatch(y),
        Tensor::from_dispatch(kv),
        Tensor::from_dispatch(z),
    )
}

/// The same as [`linear_attention_step`] in plain Burn operations.
pub fn reference(
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    kv: Tensor<4>,
    z: Tensor<3>,
) -> (Tensor<3>, Tensor<4>, Tensor<3>) {
    let (query, key) = (features(query), features(key));
    let z = z + key.clone();
    let kv = kv + key.unsqueeze_dim::<4>(3) * value.unsqueeze_dim::<4>(2);
    let normaliser = (query.clone() * z.clone()).sum_dim(2) + EPS;
    let y = query
        .unsqueeze_dim::<4>(2)
        .matmul(kv.clone())
        .squeeze_dim::<3>(2)
        / normaliser;
    (y, kv, z)
}

/// One token of linear attention as an operation of the dispatching backend; called through [`linear_attention_step`].
#[backend_extension(Cube, Flex)]
pub trait LinearAttentionStepOps: Backend {
    /// `(y, kv, z)` after the token.
    fn fused_linear_attention_step(
        query: FloatTensor<Self>,
        key: FloatTensor<Self>,
        value: FloatTensor<Self>,
        kv: FloatTensor<Self>,
        z: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

macro_rules! pass {
    ($backend:ty, $module:ident) => {
        impl LinearAttentionStepOps for $backend {
            fn fused_linear_attention_step(
                query: FloatTensor<Self>,
                key: FloatTensor<Self>,
                value: FloatTensor<Self>,
                kv: FloatTensor<Self>,
                z: FloatTensor<Self>,
            ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
                $module::step([query, key, value], kv, z)
            }
        }
    };
}

pass!(CubeBackend, launch);
pass!(Flex, cpu);
