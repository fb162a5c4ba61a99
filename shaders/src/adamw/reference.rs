//! AdamW in plain Burn tensor operations: the named alternative in benchmarks.

use burn::tensor::Tensor;

use super::AdamWStep;

/// One step of AdamW; see [`crate::adamw_step()`].
pub fn adamw_step<const D: usize>(
    param: Tensor<D>,
    grad: Tensor<D>,
    m: Tensor<D>,
    v: Tensor<D>,
    step: AdamWStep,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let (correction1, correction2) = step.bias_corrections();
    let m = m * step.beta1 + grad.clone() * (1.0 - step.beta1);
    let v = v * step.beta2 + grad.square() * (1.0 - step.beta2);
    let denominator = (v.clone() / correction2).sqrt() + step.eps;
    let update = m.clone() / denominator * (step.lr / correction1);
    let param = param * (1.0 - step.lr * step.weight_decay) - update;
    (param, m, v)
}
