//! Widening on the GPU: an invocation a word.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use super::SIXTEEN_BIT;
use crate::launch::{Kernel, contiguous, empty};

const THREADS: u32 = 256;
const F16: &str = concat!(include_str!("f16.wgsl"), include_str!("widen.wgsl"));
const BF16: &str = concat!(include_str!("bf16.wgsl"), include_str!("widen.wgsl"));

/// 16-bit floats as f32.
pub(super) fn widen(x: CubeTensor) -> CubeTensor {
    let x = contiguous(x);
    let values = x.meta.shape().num_elements();
    let wide = empty(&x, x.meta.shape().clone());
    let (name, template) = match x.dtype {
        DType::BF16 => ("widen bf16", BF16),
        _ => ("widen f16", F16),
    };
    Kernel::new(name, template, THREADS)
        .reads(SIXTEEN_BIT)
        .launch(
            &[&x, &wide],
            &[values as u32],
            values.div_ceil(2).div_ceil(THREADS as usize),
        );
    wide
}
