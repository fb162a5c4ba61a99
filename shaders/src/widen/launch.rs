//! Widening on the GPU: an invocation a word.

use burn_cubecl::tensor::CubeTensor;

use super::Half;
use crate::launch::{Kernel, contiguous, empty};

const THREADS: u32 = 256;
const F16: &str = concat!(include_str!("f16.wgsl"), include_str!("widen.wgsl"));
const BF16: &str = concat!(include_str!("bf16.wgsl"), include_str!("widen.wgsl"));

/// The first `values` of `words` as f32.
pub(super) fn widen(words: CubeTensor, values: usize, half: Half) -> CubeTensor {
    let words = contiguous(words);
    let wide = empty(&words, [values]);
    let (name, template) = match half {
        Half::F16 => ("widen f16", F16),
        Half::BF16 => ("widen bf16", BF16),
    };
    Kernel::new(name, template, THREADS).launch(
        &[&words, &wide],
        &[values as u32],
        values.div_ceil(2).div_ceil(THREADS as usize),
    );
    wide
}
