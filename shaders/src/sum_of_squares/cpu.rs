//! Sum of squares on the CPU.

use burn_flex::FlexTensor;

use crate::cpu::{blocks, contiguous, multiply_add, tensor, wide};

/// Values of a block, and how many partial sums a block has so that its loop vectorises.
const BLOCK: usize = 16 * 1024;
const LANES: usize = 32;

#[inline(always)]
fn block_body<const FMA: bool>(x: &[f32]) -> f32 {
    let (parts, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for part in parts {
        for l in 0..LANES {
            lanes[l] = multiply_add::<FMA>(part[l], part[l], lanes[l]);
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().map(|x| x * x).sum::<f32>()
}

wide!(fn block_sum(x: &[f32]) -> f32 => block_body);

/// Σ x² as `[1]`; the same on any number of cores.
pub(super) fn sum(x: FlexTensor) -> FlexTensor {
    let x = contiguous(x);
    let x = x.storage::<f32>();
    let mut partial = vec![0.0; x.len().div_ceil(BLOCK)];
    blocks(x.len(), [&mut partial], [8], |number, [sums]| {
        for (i, sum) in sums.iter_mut().enumerate() {
            let start = (number * 8 + i) * BLOCK;
            *sum = block_sum(&x[start..x.len().min(start + BLOCK)]);
        }
    });
    // In f64, because a model has thousands of blocks.
    let sum: f64 = partial.iter().map(|&sum| f64::from(sum)).sum();
    tensor(vec![sum as f32], [1])
}
