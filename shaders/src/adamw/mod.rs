//! AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101), one fused step over a parameter.

mod cpu;
mod launch;
pub mod reference;
#[cfg(test)]
mod tests;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeBackend;

/// The scalars of one AdamW step. Plain numbers, so that a schedule may change any of them between steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWStep {
    /// Learning rate of this step.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to √v̂.
    pub eps: f64,
    /// Decoupled weight decay: p ← p · (1 − lr · weight_decay) before the update.
    pub weight_decay: f64,
    /// Number of this step, counted from 1 (the bias corrections are 1 − βᵗ).
    pub step: u64,
}

impl AdamWStep {
    /// 1 − β₁ᵗ and 1 − β₂ᵗ.
    pub fn bias_corrections(&self) -> (f64, f64) {
        let t = self.step.max(1) as f64;
        (1.0 - self.beta1.powf(t), 1.0 - self.beta2.powf(t))
    }
}

/// One step of AdamW as `torch.optim.AdamW` takes it:
/// p ← p · (1 − lr · wd) − lr · m̂ / (√v̂ + eps), m̂ = m / (1 − β₁ᵗ), v̂ = v / (1 − β₂ᵗ).
///
/// All four tensors have the same shape, of any rank, and lie on a device without autodiff. Returns the new
/// `(param, m, v)`, which are the given ones changed in place where the caller hands over their only handle. Tensors
/// that are not of f32 take [`reference::adamw_step`].
///
/// # Panics
/// When the shapes differ.
pub fn adamw_step<const D: usize>(
    param: Tensor<D>,
    grad: Tensor<D>,
    m: Tensor<D>,
    v: Tensor<D>,
    step: AdamWStep,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let shape = param.dims();
    assert!(
        [grad.dims(), m.dims(), v.dims()] == [shape; 3],
        "adamw_step: param is {shape:?}; found gradient {:?}, m {:?}, v {:?}, which must be the same",
        grad.dims(),
        m.dims(),
        v.dims()
    );
    if [param.dtype(), grad.dtype(), m.dtype(), v.dtype()] != [DType::F32; 4] {
        return reference::adamw_step(param, grad, m, v, step);
    }
    let (param, m, v) = Dispatch::fused_adamw_step(
        param.into_dispatch(),
        grad.into_dispatch(),
        m.into_dispatch(),
        v.into_dispatch(),
        Scalars::new(&step),
    );
    (
        Tensor::from_dispatch(param),
        Tensor::from_dispatch(m),
        Tensor::from_dispatch(v),
    )
}

/// What the kernels take of an [`AdamWStep`], the bias corrections worked out in f64.
#[derive(Clone, Copy, Debug)]
pub struct Scalars {
    /// 1 − lr · wd
    decay: f32,
    /// 1 − β₁
    fresh1: f32,
    /// β₂
    beta2: f32,
    /// 1 − β₂
    fresh2: f32,
    /// lr / (1 − β₁ᵗ)
    step_size: f32,
    /// 1 / √(1 − β₂ᵗ)
    inverse_root_correction2: f32,
    /// Added to √v̂.
    eps: f32,
}

impl Scalars {
    fn new(step: &AdamWStep) -> Self {
        let (correction1, correction2) = step.bias_corrections();
        Self {
            decay: (1.0 - step.lr * step.weight_decay) as f32,
            fresh1: (1.0 - step.beta1) as f32,
            beta2: step.beta2 as f32,
            fresh2: (1.0 - step.beta2) as f32,
            step_size: (step.lr / correction1) as f32,
            inverse_root_correction2: (1.0 / correction2.sqrt()) as f32,
            eps: step.eps as f32,
        }
    }
}

/// AdamW as an operation of the dispatching backend; called through [`adamw_step`].
#[backend_extension(Cube, Flex)]
pub trait AdamWOps: Backend {
    /// The new `(param, m, v)`.
    fn fused_adamw_step(
        param: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scalars: Scalars,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

impl AdamWOps for CubeBackend {
    fn fused_adamw_step(
        param: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scalars: Scalars,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        launch::step(param, gradient, m, v, scalars)
    }
}

impl AdamWOps for Flex {
    fn fused_adamw_step(
        param: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        m: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scalars: Scalars,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        cpu::step(param, gradient, m, v, scalars)
    }
}
