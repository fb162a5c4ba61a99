//! AdamW on the GPU.

use burn_cubecl::tensor::CubeTensor;

use super::Scalars;
use crate::launch::{Kernel, contiguous};

const THREADS: usize = 256;

/// The new `(param, m, v)`; those with a single handle are changed in place.
pub(super) fn step(
    param: CubeTensor,
    gradient: CubeTensor,
    m: CubeTensor,
    v: CubeTensor,
    s: Scalars,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let own = |tensor: CubeTensor| {
        let tensor = contiguous(tensor);
        if tensor.can_mut() {
            tensor
        } else {
            tensor.copy()
        }
    };
    let (param, m, v) = (own(param), own(m), own(v));
    let gradient = contiguous(gradient);
    let values = param.meta.shape().num_elements();
    let scalars = [
        s.decay,
        s.fresh1,
        s.beta2,
        s.fresh2,
        s.step_size,
        s.inverse_root_correction2,
        s.eps,
    ];
    let mut info = vec![values as u32];
    info.extend(scalars.map(f32::to_bits));
    Kernel::new("adamw step", include_str!("step.wgsl"), THREADS as u32).launch(
        &[&param, &gradient, &m, &v],
        &info,
        values.div_ceil(THREADS),
    );
    (param, m, v)
}
