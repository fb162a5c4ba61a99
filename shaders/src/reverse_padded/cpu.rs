//! Reversal of time on the CPU: whole positions at a time.

use burn_flex::FlexTensor;

use crate::Lengths;
use crate::cpu::{blocks, contiguous, fresh, tasks, tensor};

/// Positions of a block.
const ROWS: usize = 64;

/// `x` `[B, L, D]` with the first positions of each sample reversed and zeros after them; changes `x` in place when this is its
/// only handle, which moves half the bytes of a copy.
pub(super) fn reverse(x: FlexTensor, lengths: &Lengths) -> FlexTensor {
    let mut x = contiguous(x);
    let shape = x.layout().shape().clone();
    let (len, channels) = (shape[1], shape[2]);
    if let Some(values) = x.try_storage_mut::<f32>() {
        reverse_in_place(values, lengths, len, channels);
        return x;
    }
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

/// Rows from either end of a sample's real positions change places; the padding becomes zero.
fn reverse_in_place(values: &mut [f32], lengths: &Lengths, len: usize, channels: usize) {
    let size = values.len();
    let work = values
        .chunks_exact_mut(len * channels)
        .zip(lengths.as_slice())
        .flat_map(|(sample, &n)| {
            let n = n as usize;
            let (real, padding) = sample.split_at_mut(n * channels);
            let (front, back) = real.split_at_mut(n / 2 * channels);
            // With an odd number the row in the middle stays where it is.
            let back = &mut back[n % 2 * channels..];
            let pairs = front
                .chunks_mut(ROWS * channels)
                .zip(back.rchunks_mut(ROWS * channels).map(Some));
            pairs.chain(
                padding
                    .chunks_mut(ROWS * channels)
                    .map(|zeros| (zeros, None)),
            )
        });
    tasks(size / 8, work, |(front, back)| {
        let Some(back) = back else {
            front.fill(0.0);
            return;
        };
        let rows = front.chunks_exact_mut(channels);
        for (front, back) in rows.zip(back.rchunks_exact_mut(channels)) {
            front.swap_with_slice(back);
        }
    });
}
