//! 16-bit floats, two to a word, as f32: weights cross to the device in half the bytes.

mod cpu;
mod launch;
#[cfg(test)]
mod tests;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Int, Tensor};
use burn_cubecl::CubeBackend;

/// What the 16 bits are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// IEEE 754 binary16.
    F16,
    /// The upper half of an f32.
    BF16,
}

/// The first `values` 16-bit floats of `words` as f32, exactly: subnormals, infinities and NaN are kept. The lower half
/// of a word comes first, as in a file; of an odd number the last upper half is ignored.
///
/// # Panics
/// When `words` is not of u32, or holds fewer values.
pub fn widen(words: Tensor<1, Int>, values: usize, half: Half) -> Tensor<1> {
    let [count] = words.dims();
    assert!(
        words.dtype() == DType::U32 && values.div_ceil(2) <= count,
        "widen: expected {} words of U32 for {values} values, found {count} of {:?}",
        values.div_ceil(2),
        words.dtype()
    );
    Tensor::from_dispatch(Dispatch::fused_widen(words.into_dispatch(), values, half))
}

/// The widening as an operation of the dispatching backend; called through [`widen`].
#[backend_extension(Cube, Flex)]
pub trait WidenOps: Backend {
    /// `values` of `words`.
    fn fused_widen(words: IntTensor<Self>, values: usize, half: Half) -> FloatTensor<Self>;
}

impl WidenOps for CubeBackend {
    fn fused_widen(words: IntTensor<Self>, values: usize, half: Half) -> FloatTensor<Self> {
        launch::widen(words, values, half)
    }
}

impl WidenOps for Flex {
    fn fused_widen(words: IntTensor<Self>, values: usize, half: Half) -> FloatTensor<Self> {
        cpu::widen(words, values, half)
    }
}
