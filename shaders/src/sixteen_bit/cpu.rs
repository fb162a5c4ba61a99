//! Widening on the CPU.

use burn::tensor::DType;
use burn_flex::FlexTensor;

use crate::cpu::{blocks, contiguous, fresh, tensor};

/// Values of a block.
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

/// 16-bit floats as f32.
pub(super) fn widen(x: FlexTensor) -> FlexTensor {
    let x = contiguous(x);
    let shape = x.layout().shape().clone();
    let halves: &[u16] = bytemuck::cast_slice(x.bytes());
    let wide = match x.dtype() {
        DType::BF16 => converted(halves, from_bf16),
        _ => converted(halves, from_f16),
    };
    tensor(wide, shape)
}

fn converted(halves: &[u16], value: impl Fn(u32) -> f32 + Send + Sync) -> Vec<f32> {
    let mut wide = fresh(halves.len());
    blocks(halves.len(), [&mut wide], [BLOCK], |block, [wide]| {
        for (wide, &half) in wide.iter_mut().zip(&halves[block * BLOCK..]) {
            *wide = value(half.into());
        }
    });
    wide
}
