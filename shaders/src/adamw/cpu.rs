//! AdamW on the CPU: one pass over the four tensors.

use burn_flex::FlexTensor;

use super::Scalars;
use crate::cpu::{blocks, contiguous, multiply_add, wide};

/// Values a task takes at a time.
const BLOCK: usize = 16 * 1024;

#[inline(always)]
fn step_body<const FMA: bool>(
    s: Scalars,
    gradient: &[f32],
    param: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
) {
    for (((param, m), v), &gradient) in param
        .iter_mut()
        .zip(m.iter_mut())
        .zip(v.iter_mut())
        .zip(gradient)
    {
        *m = multiply_add::<FMA>(s.fresh1, gradient - *m, *m);
        *v = multiply_add::<FMA>(s.fresh2 * gradient, gradient, s.beta2 * *v);
        let denominator = multiply_add::<FMA>(v.sqrt(), s.inverse_root_correction2, s.eps);
        *param = *param * s.decay - s.step_size * *m / denominator;
    }
}

wide!(fn step_values(s: Scalars, gradient: &[f32], param: &mut [f32], m: &mut [f32], v: &mut [f32]) => step_body);

/// The new `(param, m, v)`; those with a single handle are changed in place.
pub(super) fn step(
    param: FlexTensor,
    gradient: FlexTensor,
    m: FlexTensor,
    v: FlexTensor,
    scalars: Scalars,
) -> (FlexTensor, FlexTensor, FlexTensor) {
    let (mut param, mut m, mut v) = (contiguous(param), contiguous(m), contiguous(v));
    let gradient = contiguous(gradient);
    let gradient = gradient.storage::<f32>();
    blocks(
        4 * gradient.len(),
        [
            param.storage_mut::<f32>(),
            m.storage_mut::<f32>(),
            v.storage_mut::<f32>(),
        ],
        [BLOCK; 3],
        |block, [param, m, v]| {
            step_values(
                scalars,
                &gradient[block * BLOCK..][..param.len()],
                param,
                m,
                v,
            )
        },
    );
    (param, m, v)
}
