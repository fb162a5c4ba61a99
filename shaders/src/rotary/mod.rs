//! Rotary positions (Su et al. 2021, arXiv 2104.09864) on the queries and keys of a packed projection, as GPT-NeoX has them
//! (Black et al. 2022, arXiv 2204.06745).

mod cpu;
mod gathered;
mod launch;
pub mod reference;
#[cfg(test)]
mod tests;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeBackend;

/// Query, key and value `[B, L, H, P]` of a packed projection `[B, L, H, 3 P]`, queries and keys rotated: of their first R
/// dimensions, (a, b) of the two halves becomes (a cos - b sin, b cos + a sin); the rest stays.
///
/// `cos` and `sin` are `[L, R / 2]`, R at most P, outside of any graph; R of 0 only takes the parts out. One pass over the
/// packed values in place of some fifteen small ones; its gradient is the opposite rotation, in one pass over those of the parts, so that the
/// graph keeps the two tables alone. Tensors that are not of f32 take [`reference::rotary`].
///
/// # Panics
/// When the shapes disagree.
pub fn rotary(packed: Tensor<4>, cos: Tensor<2>, sin: Tensor<2>) -> [Tensor<4>; 3] {
    let [_, len, _, triple] = packed.dims();
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
    let (query, key, value) = Dispatch::rotary_parts(
        packed.into_dispatch(),
        cos.into_dispatch(),
        sin.into_dispatch(),
    );
    [query, key, value].map(Tensor::from_dispatch)
}

/// The rotation as an operation of the dispatching backend; called through [`rotary`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait RotaryOps: Backend {
    /// Query, key and value, `[B, L, H, P]` each, of `[B, L, H, 3 P]`.
    fn rotary_parts(
        packed: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

/// The backward pass, on the backends that execute.
pub trait RotaryBackward: RotaryOps {
    /// Gradient `[B, L, H, 3 P]` of the packed projection from those of query, key and value, `[B, L, H, P]` each.
    fn rotary_gradient(
        parts: [FloatTensor<Self>; 3],
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
            ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
                let [query, key, value] = $module::take_apart(packed, cos, sin);
                (query, key, value)
            }
        }

        impl RotaryBackward for $backend {
            fn rotary_gradient(
                parts: [FloatTensor<Self>; 3],
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
