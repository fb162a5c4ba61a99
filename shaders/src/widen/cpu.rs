//! Widening on the CPU.

use burn_flex::FlexTensor;

use super::Half;
use crate::cpu::{blocks, contiguous, fresh, tensor};

/// Values of a block; even, so that no word lies in two.
const BLOCK: usize = 16 * 1024;

/// The bits of a binary16 as an f32; f16.wgsl does the same.
#[inline(always)]
fn from_f16(half: u32) -> f32 {
    let (size, sign) = (half & 0x7fff, (half & 0x8000) << 16);
    let bits = match size {
        0x7c00.. => 0x7f80_0000 | (size & 0x3ff) << 13,
        0x400.. => (size << 13) + 0x3800_0000,
        // A multiple of 2^-24.
        _ => (size as f32 * 5.960_464_5e-8).to_bits(),
    };
    f32::from_bits(sign | bits)
}

/// The bits of a bfloat16 as an f32.
#[inline(always)]
fn from_bf16(half: u32) -> f32 {
    f32::from_bits(half << 16)
}

fn fill(words: &[u32], wide: &mut [f32], value: impl Fn(u32) -> f32) {
    let mut pairs = wide.chunks_exact_mut(2);
    for (pair, word) in pairs.by_ref().zip(words) {
        (pair[0], pair[1]) = (value(word & 0xffff), value(word >> 16));
    }
    if let ([last], Some(word)) = (pairs.into_remainder(), words.last()) {
        *last = value(word & 0xffff);
    }
}

/// The first `values` of `words` as f32.
pub(super) fn widen(words: FlexTensor, values: usize, half: Half) -> FlexTensor {
    let words = contiguous(words);
    let words = &words.storage::<u32>()[..values.div_ceil(2)];
    let mut wide = fresh(values);
    blocks(values, [&mut wide], [BLOCK], |block, [wide]| {
        let first = block * BLOCK / 2;
        let words = &words[first..first + wide.len().div_ceil(2)];
        match half {
            Half::F16 => fill(words, wide, from_f16),
            Half::BF16 => fill(words, wide, from_bf16),
        }
    });
    tensor(wide, [values])
}
