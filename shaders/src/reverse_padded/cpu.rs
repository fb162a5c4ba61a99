//! Reversal of time on the CPU: whole positions at a time.

use burn_flex::FlexTensor;

use crate::Lengths;
use crate::cpu::{blocks, contiguous, fresh, tensor};

/// Positions of a block.
const ROWS: usize = 64;

/// `x` `[B, L, D]` with the first positions of each sample reversed and zeros after them.
pub(super) fn reverse(x: FlexTensor, lengths: &Lengths) -> FlexTensor {
    let x = contiguous(x);
    let shape = x.layout().shape().clone();
    let (len, channels) = (shape[1], shape[2]);
    let x = x.storage::<f32>();
    let mut y = fresh(x.len());
    // An eighth: a copy is soon done, and waking the other cores takes as long as some hundred rows.
    blocks(x.len() / 8, [&mut y], [ROWS * channels], |block, [y]| {
        for (row, y) in y.chunks_exact_mut(channels).enumerate() {
            let (sample, t) = ((block * ROWS + row) / len, (block * ROWS + row) % len);
            let n = lengths.as_slice()[sample] as usize;
            if t < n {
                y.copy_from_slice(&x[(sample * len + n - 1 - t) * channels..][..channels]);
            } else {
                y.fill(0.0);
            }
        }
    });
    tensor(y, shape)
}
