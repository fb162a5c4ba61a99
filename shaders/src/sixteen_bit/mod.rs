//! Weights of 16-bit floats: as they lie in a file, two to a word, they take half of a device's memory and of its bandwidth.
//!
//! A tensor of `DType::F16` or `DType::BF16` is a parameter that kernels unpack where they read it ([`linear`](fn@crate::linear),
//! [`embedding`](fn@crate::embedding)); no adapter needs WebGPU's `shader-f16` for that. Everything else widens it first.

mod cpu;
mod launch;
mod stored;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use stored::Stored;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeBackend;

/// The types of 16-bit floats.
pub(crate) const SIXTEEN_BIT: &[DType] = &[DType::F16, DType::BF16];

/// Whether values of this type are 16-bit floats.
pub fn is_sixteen_bit(dtype: DType) -> bool {
    SIXTEEN_BIT.contains(&dtype)
}

/// 16-bit floats as f32, exactly: subnormals, infinities and NaN are kept. Other tensors are given back as they are.
pub fn widen<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !is_sixteen_bit(x.dtype()) {
        return x;
    }
    let x = x.without_autodiff();
    Tensor::from_dispatch(Dispatch::fused_widen(x.into_dispatch()))
}

/// The widening as an operation of the dispatching backend; called through [`widen`].
#[backend_extension(Cube, Flex)]
pub trait WidenOps: Backend {
    /// The same values as f32.
    fn fused_widen(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

impl WidenOps for CubeBackend {
    fn fused_widen(x: FloatTensor<Self>) -> FloatTensor<Self> {
        launch::widen(x)
    }
}

impl WidenOps for Flex {
    fn fused_widen(x: FloatTensor<Self>) -> FloatTensor<Self> {
        cpu::widen(x)
    }
}
