//! AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101), one fused step over a parameter.

pub mod reference;

use burn::tensor::Tensor;

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
/// All four tensors have the same shape, of any rank, and lie on a device without autodiff.
/// Returns the new `(param, m, v)`. On the CPU the three are changed in place when the caller hands
/// over their only handle.
pub fn adamw_step<const D: usize>(
    param: Tensor<D>,
    grad: Tensor<D>,
    m: Tensor<D>,
    v: Tensor<D>,
    step: AdamWStep,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    reference::adamw_step(param, grad, m, v, step)
}
