//! The causal convolution on the CPU: positions in blocks over the cores, channels along the vector registers.

use burn_flex::FlexTensor;

use super::Saved;
use crate::cpu::{blocks, contiguous, exp_negative, fresh, multiply_add, tensor, wide};

/// Positions of a block, counted over the whole batch. Part of the result: the sums of dweight and dbias are taken block by
/// block.
const ROWS: usize = 64;
/// Channels at a time, whole rows of most models: a row that is read in parts is a stream for each of them, and at 256 channels, which stay
/// in the first-level cache, sequences that leave the caches took 1.3 to 1.6 times as long.
const TILE: usize = 2048;

/// Everything that the loops read, in the order in which they read it.
pub(super) struct Input<'a> {
    /// `[B, L, D]`
    x: &'a [f32],
    /// `[W, D]`
    taps: Vec<f32>,
    /// `[D]`
    bias: &'a [f32],
    /// `[B, W - 1, D]`, or empty for zeros.
    state: Vec<f32>,
    /// `[D]`
    zeros: Vec<f32>,
    len: usize,
    channels: usize,
    width: usize,
    silu: bool,
}

impl<'a> Input<'a> {
    fn new(saved: &'a Saved<FlexTensor>, len: usize, channels: usize) -> Self {
        let weight = saved.weight.storage::<f32>();
        let width = weight.len() / channels.max(1);
        let state = saved.state.as_ref().map_or_else(Vec::new, |state| {
            state
                .storage::<f32>()
                .chunks_exact((width - 1) * channels)
                .flat_map(|sample| transposed(sample, channels, width - 1))
                .collect()
        });
        Self {
            x: saved.x.storage::<f32>(),
            taps: transposed(weight, channels, width),
            bias: saved.bias.storage::<f32>(),
            state,
            zeros: vec![0.0; channels],
            len,
            channels,
            width,
            silu: saved.silu,
        }
    }

    /// The channels of the input `at - (W - 1)` of a sample.
    #[inline(always)]
    fn row(&self, sample: usize, at: usize) -> &[f32] {
        let past = self.width - 1;
        let (values, row) = if at >= past {
            (self.x, sample * self.len + at - past)
        } else if self.state.is_empty() {
            (&self.zeros[..], 0)
        } else {
            (&self.state[..], sample * past + at)
        };
        &values[row * self.channels..][..self.channels]
    }

    /// bias + Σ taps · inputs at position `t` for the channels from `start` on.
    #[inline(always)]
    fn sums<const FMA: bool, const W: usize>(
        &self,
        sample: usize,
        t: usize,
        start: usize,
        out: &mut [f32],
    ) {
        let count = out.len();
        let inputs: [&[f32]; W] =
            std::array::from_fn(|tap| &self.row(sample, t + tap)[start..][..count]);
        let taps: [&[f32]; W] =
            std::array::from_fn(|tap| &self.taps[tap * self.channels + start..][..count]);
        let bias = &self.bias[start..][..count];
        for c in 0..count {
            let mut sum = bias[c];
            for tap in 0..W {
                sum = multiply_add::<FMA>(taps[tap][c], inputs[tap][c], sum);
            }
            out[c] = sum;
        }
    }
}

/// `[rows, columns]` as `[columns, rows]`.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns)
        .map(|at| values[at % rows * columns + at / rows])
        .collect()
}

/// z and 1 / (1 + e⁻ᶻ), z bounded below where z times the sigmoid is zero.
#[inline(always)]
fn sigmoid<const FMA: bool>(z: f32) -> (f32, f32) {
    // A comparison, not `max`: NaN must pass through.
    let z = if z < -88.0 { -88.0 } else { z };
    let e = exp_negative::<FMA>(-z.abs());
    (z, if z < 0.0 { e } else { 1.0 } / (1.0 + e))
}

#[inline(always)]
fn forward_rows<const FMA: bool, const W: usize>(input: &Input, first: usize, y: &mut [f32]) {
    let (len, channels) = (input.len, input.channels);
    for start in (0..channels).step_by(TILE) {
        let end = (start + TILE).min(channels);
        for (row, y) in y.chunks_exact_mut(channels).enumerate() {
            let y = &mut y[start..end];
            let (sample, t) = ((first + row) / len, (first + row) % len);
            input.sums::<FMA, W>(sample, t, start, y);
            if input.silu {
                for y in y {
                    let (z, s) = sigmoid::<FMA>(*y);
                    *y = z * s;
                }
            }
        }
    }
}

/// dx of the rows from `first` on, all of one sample or not, and their sums `[W + 1, D]` of dweight and dbias.
#[inline(always)]
fn backward_rows<const FMA: bool, const W: usize>(
    input: &Input,
    dy: &[f32],
    first: usize,
    dx: &mut [f32],
    partial: &mut [f32],
) {
    let (len, channels) = (input.len, input.channels);
    partial.fill(0.0);
    let rows = dx.len() / channels;
    let mut window = vec![0.0; W * TILE.min(channels)];
    for start in (0..channels).step_by(TILE) {
        let count = TILE.min(channels - start);
        // Up to the end of its sample or of the block, whichever comes first.
        let mut row = first;
        while row < first + rows {
            let (sample, from) = (row / len, row % len);
            let to = len.min(from + first + rows - row);
            let dx = &mut dx[(row - first) * channels..][..(to - from) * channels];
            backward_tile::<FMA, W>(
                input,
                dy,
                [sample, from, to],
                [start, count],
                &mut window,
                dx,
                partial,
            );
            row += to - from;
        }
    }
}

/// Positions `from` to `to` of a sample, `count` channels from `start` on; `window` has room for W rows of them.
#[inline(always)]
fn backward_tile<const FMA: bool, const W: usize>(
    input: &Input,
    dy: &[f32],
    [sample, from, to]: [usize; 3],
    [start, count]: [usize; 2],
    window: &mut [f32],
    dx: &mut [f32],
    partial: &mut [f32],
) {
    let (len, channels, past) = (input.len, input.channels, W - 1);
    for t in from..to + past {
        // dz of position t lies in slot t mod W.
        let slot = &mut window[t % W * count..][..count];
        if t < len {
            let dy = &dy[(sample * len + t) * channels + start..][..count];
            if input.silu {
                input.sums::<FMA, W>(sample, t, start, slot);
                for (slot, dy) in slot.iter_mut().zip(dy) {
                    let (z, s) = sigmoid::<FMA>(*slot);
                    *slot = dy * s * multiply_add::<FMA>(z, 1.0 - s, 1.0);
                }
            } else {
                slot.copy_from_slice(dy);
            }
        } else {
            slot.fill(0.0);
        }
        if t < to {
            for tap in 0..W {
                let x = &input.row(sample, t + tap)[start..][..count];
                let sums = &mut partial[tap * channels + start..][..count];
                for c in 0..count {
                    sums[c] = multiply_add::<FMA>(slot[c], x[c], sums[c]);
                }
            }
            let sums = &mut partial[W * channels + start..][..count];
            for c in 0..count {
                sums[c] += slot[c];
            }
        }
        if t >= from + past {
            let dx = &mut dx[(t - past - from) * channels + start..][..count];
            let dz: [&[f32]; W] =
                std::array::from_fn(|tap| &window[(t - tap) % W * count..][..count]);
            let taps: [&[f32]; W] =
                std::array::from_fn(|tap| &input.taps[tap * channels + start..][..count]);
            for c in 0..count {
                let mut sum = 0.0;
                for tap in 0..W {
                    sum = multiply_add::<FMA>(taps[tap][c], dz[tap][c], sum);
                }
                dx[c] = sum;
            }
        }
    }
}

/// Calls `$body::<FMA, W>` with the width as a constant, so that the loops over taps unroll.
macro_rules! by_width {
    ($width:expr, $body:ident($($argument:expr),*)) => {
        match $width {
            1 => $body::<FMA, 1>($($argument),*),
            2 => $body::<FMA, 2>($($argument),*),
            3 => $body::<FMA, 3>($($argument),*),
            4 => $body::<FMA, 4>($($argument),*),
            5 => $body::<FMA, 5>($($argument),*),
            6 => $body::<FMA, 6>($($argument),*),
            7 => $body::<FMA, 7>($($argument),*),
            8 => $body::<FMA, 8>($($argument),*),
            width => unreachable!("causal_conv1d: filters of width {width} take the plain form"),
        }
    };
}

#[inline(always)]
fn forward_body<const FMA: bool>(input: &Input, first: usize, y: &mut [f32]) {
    by_width!(input.width, forward_rows(input, first, y));
}

#[inline(always)]
fn backward_body<const FMA: bool>(
    input: &Input,
    dy: &[f32],
    first: usize,
    dx: &mut [f32],
    partial: &mut [f32],
) {
    by_width!(input.width, backward_rows(input, dy, first, dx, partial));
}

wide!(fn forward_block(input: &Input, first: usize, y: &mut [f32]) => forward_body);
wide!(
    fn backward_block(input: &Input, dy: &[f32], first: usize, dx: &mut [f32], partial: &mut [f32]) => backward_body
);

fn contiguous_all(saved: Saved<FlexTensor>) -> Saved<FlexTensor> {
    Saved {
        x: contiguous(saved.x),
        weight: contiguous(saved.weight),
        bias: contiguous(saved.bias),
        state: saved.state.map(contiguous),
        silu: saved.silu,
    }
}

/// y `[B, L, D]`.
pub(super) fn forward(saved: Saved<FlexTensor>) -> FlexTensor {
    let saved = contiguous_all(saved);
    let shape = saved.x.layout().shape().clone();
    let (len, channels) = (shape[1], shape[2]);
    let input = Input::new(&saved, len, channels);
    let mut y = fresh(input.x.len());
    blocks(input.x.len(), [&mut y], [ROWS * channels], |block, [y]| {
        forward_block(&input, block * ROWS, y)
    });
    tensor(y, shape)
}

/// `[dx, dweight, dbias]`.
pub(super) fn backward(saved: Saved<FlexTensor>, dy: FlexTensor) -> [FlexTensor; 3] {
    let (saved, dy) = (contiguous_all(saved), contiguous(dy));
    let shape = saved.x.layout().shape().clone();
    let (len, channels) = (shape[1], shape[2]);
    let input = Input::new(&saved, len, channels);
    let (dy, width) = (dy.storage::<f32>(), input.width);
    let columns = (width + 1) * channels;
    let mut dx = fresh(dy.len());
    let mut partial = fresh((shape[0] * len).div_ceil(ROWS) * columns);
    blocks(
        dy.len(),
        [&mut dx, &mut partial],
        [ROWS * channels, columns],
        |block, [dx, partial]| backward_block(&input, dy, block * ROWS, dx, partial),
    );
    let mut sums = vec![0.0; columns];
    for partial in partial.chunks_exact(columns) {
        for (sum, value) in sums.iter_mut().zip(partial) {
            *sum += value;
        }
    }
    let dbias = sums.split_off(width * channels);
    [
        tensor(dx, shape),
        tensor(transposed(&sums, width, channels), [channels, width]),
        tensor(dbias, [channels]),
    ]
}

/// `(y, next state)` of one position.
pub(super) fn step(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    state: FlexTensor,
    silu: bool,
) -> (FlexTensor, FlexTensor) {
    let [x, weight, bias, state] = [x, weight, bias, state].map(contiguous);
    let (shape, state_shape) = (x.layout().shape().clone(), state.layout().shape().clone());
    let (x, weight, bias) = (
        x.storage::<f32>(),
        weight.storage::<f32>(),
        bias.storage::<f32>(),
    );
    let past = state_shape[2];
    let mut y = fresh(x.len());
    let mut next = fresh(x.len() * past);
    let states = state.storage::<f32>().chunks_exact(past);
    let channel_rows = weight.chunks_exact(past + 1).zip(bias).cycle();
    let results = y.iter_mut().zip(next.chunks_exact_mut(past));
    for (((&value, state), (taps, bias)), (y, next)) in
        x.iter().zip(states).zip(channel_rows).zip(results)
    {
        // From the newest to the oldest, each moving one place: a copy of a few values would be a call in a browser.
        let mut sum = bias + taps[past] * value;
        let mut newer = value;
        for place in (0..past).rev() {
            let input = state[place];
            sum += taps[place] * input;
            next[place] = newer;
            newer = input;
        }
        *y = sum;
    }
    if silu {
        for y in &mut y {
            let (z, s) = sigmoid::<false>(*y);
            *y = z * s;
        }
    }
    (tensor(y, shape), tensor(next, state_shape))
}
