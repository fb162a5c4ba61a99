//! The scan and the step on the CPU.

use std::f32::consts::LOG2_E;

use burn_flex::FlexTensor;

use super::{
    LANES, Lanes, Sizes, Values, exp2_negative, gather, load, load_rows, sigmoid, softplus, store,
};
use crate::cpu::{contiguous, fresh, multiply_add, tensor, wide};
use crate::product::{MatrixMut, Shared, tasks};
use crate::selective_scan::{Inputs, TILE};

/// How many tasks there should be at least before one takes several blocks of channels.
const TASKS: usize = 16;
/// Blocks of channels of a task.
const MAX_BLOCKS: usize = 8;

/// `(y, last_state, saved)`; `saved` `[B, tiles, N, D]` holds the state at the start of each tile, only where asked for.
pub(in super::super) fn forward(
    inputs: Inputs<FlexTensor>,
    save: bool,
) -> (FlexTensor, FlexTensor, Option<FlexTensor>) {
    let inputs = inputs.map(contiguous);
    let values = Values::of(&inputs);
    let Sizes {
        batch,
        len,
        width,
        state,
    } = values.sizes;
    let tiles = len.div_ceil(TILE);
    let mut y = fresh(batch * len * width);
    let mut last = fresh(batch * width * state);
    let mut saved = fresh(if save {
        batch * tiles * state * width
    } else {
        0
    });
    let blocks = width.div_ceil(LANES);
    // Rows lie in pages of their own, so a wide task looks up fewer of them; but there should be tasks for many cores.
    let together = (batch * blocks / TASKS).clamp(1, MAX_BLOCKS);
    let groups = blocks.div_ceil(together);
    {
        let (y, last) = (Shared::new(&mut y), Shared::new(&mut last));
        let saved = Shared::new(&mut saved);
        tasks(
            batch * groups,
            values.sizes.parallel(),
            || [(); 2].map(|()| vec![[0.0; LANES]; together * state]),
            |[a, h], task| {
                let (sample, first) = (task / groups, task % groups * together * LANES);
                let count = (together * LANES).min(width - first);
                // SAFETY: a task alone writes its channels of its sample.
                let (mut y, mut saved, mut last) = unsafe {
                    let kept = if save { tiles * state } else { 0 };
                    (
                        y.matrix(sample * len * width + first, [len, count], width),
                        saved.matrix(sample * kept * width + first, [kept, count], width),
                        last.matrix((sample * width + first) * state, [count, state], state),
                    )
                };
                let place = Place {
                    sample,
                    first,
                    count,
                    save,
                };
                scan(&values, place, a, h, &mut y, &mut saved, &mut last);
            },
        );
    }
    (
        tensor(y, [batch, len, width]),
        tensor(last, [batch, width, state]),
        save.then(|| tensor(saved, [batch, tiles, state, width])),
    )
}

/// `(y, state)` of one position: u `[B, D]`, b `[B, N]`, initial `[B, D, N]`.
pub(in super::super) fn step(inputs: Inputs<FlexTensor>) -> (FlexTensor, FlexTensor) {
    let shape = inputs.u.layout().shape().clone();
    let (y, state, _) = forward(inputs, false);
    (y.reshape(shape), state)
}

/// Which channels of which sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    sample: usize,
    first: usize,
    count: usize,
    save: bool,
}

#[inline(always)]
fn scan_body<const FMA: bool>(
    values: &Values<'_>,
    place: Place,
    a: &mut [Lanes],
    h: &mut [Lanes],
    y: &mut MatrixMut<'_>,
    saved: &mut MatrixMut<'_>,
    last: &mut MatrixMut<'_>,
) {
    let Sizes {
        len, width, state, ..
    } = values.sizes;
    let Place {
        sample,
        first,
        count,
        save,
    } = place;
    let blocks = count.div_ceil(LANES);
    for number in 0..blocks {
        let channel = first + number * LANES;
        let lanes = LANES.min(first + count - channel);
        for n in 0..state {
            let at = number * state + n;
            a[at] = gather(values.a, channel, lanes, state, n).map(|a| a * LOG2_E);
            h[at] = match values.initial {
                Some(initial) => gather(initial, sample * width + channel, lanes, state, n),
                None => [0.0; LANES],
            };
        }
    }
    let [mut u, mut dt, mut z] = [[[0.0; LANES]; TILE]; 3];
    for start in (0..len).step_by(TILE) {
        let positions = TILE.min(len - start);
        for number in 0..blocks {
            let offset = number * LANES;
            let lanes = LANES.min(count - offset);
            let channels = offset..offset + lanes;
            let states = number * state..(number + 1) * state;
            let (a, h) = (&a[states.clone()], &mut h[states]);
            if save {
                for (n, h) in h.iter().enumerate() {
                    let row = saved.row(start / TILE * state + n);
                    store(&mut row[channels.clone()], h);
                }
            }
            let d = load(values.d, first + offset, lanes);
            let bias = load(values.delta_bias, first + offset, lanes);
            let at = (sample * len + start) * width + first + offset;
            let size = [positions, lanes, width];
            load_rows(&mut u, values.u, at, size);
            load_rows(&mut dt, values.delta, at, size);
            if let Some(gate) = values.z {
                load_rows(&mut z, gate, at, size);
            }
            for (i, ((u, dt), z)) in u.iter().zip(&mut dt).zip(&z).enumerate().take(positions) {
                let (mut enters, mut out) = ([0.0; LANES], [0.0; LANES]);
                for l in 0..LANES {
                    dt[l] = softplus::<FMA>(dt[l] + bias[l]);
                    enters[l] = dt[l] * u[l];
                    out[l] = d[l] * u[l];
                }
                let row = sample * len + start + i;
                let row = row * state..(row + 1) * state;
                let (b, c) = (&values.b[row.clone()], &values.c[row]);
                for (((h, a), &b), &c) in h.iter_mut().zip(a).zip(b).zip(c) {
                    for l in 0..LANES {
                        let kept = exp2_negative::<FMA>(dt[l] * a[l]) * h[l];
                        h[l] = multiply_add::<FMA>(enters[l], b, kept);
                        out[l] = multiply_add::<FMA>(h[l], c, out[l]);
                    }
                }
                if values.z.is_some() {
                    for l in 0..LANES {
                        out[l] *= z[l] * sigmoid::<FMA>(z[l]);
                    }
                }
                store(&mut y.row(start + i)[channels.clone()], &out);
            }
        }
    }
    for channel in 0..count {
        let (block, l) = (channel / LANES, channel % LANES);
        let states = &h[block * state..(block + 1) * state];
        for (value, h) in last.row(channel).iter_mut().zip(states) {
            *value = h[l];
        }
    }
}

wide! {
    fn scan(
        values: &Values<'_>,
        place: Place,
        a: &mut [Lanes],
        h: &mut [Lanes],
        y: &mut MatrixMut<'_>,
        saved: &mut MatrixMut<'_>,
        last: &mut MatrixMut<'_>,
    ) => scan_body
}
