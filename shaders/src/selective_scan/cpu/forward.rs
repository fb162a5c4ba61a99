//! The scan and the step on the CPU.

use burn_flex::FlexTensor;

use super::{
    LANES, Lanes, Sizes, Values, exp2_negative, gather, load, load_rows, sigmoid, softplus, store,
};
use crate::cpu::{contiguous, fresh, multiply_add, tensor, wide};
use crate::product::{MatrixMut, Shared, tasks};
use crate::selective_scan::{Inputs, TILE};

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
    {
        let (y, last) = (Shared::new(&mut y), Shared::new(&mut last));
        let saved = Shared::new(&mut saved);
        tasks(
            batch * blocks,
            values.sizes.parallel(),
            || (vec![[0.0; LANES]; state], vec![[0.0; LANES]; state]),
            |(a, h), task| {
                let (sample, first) = (task / blocks, task % blocks * LANES);
                let count = LANES.min(width - first);
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
    for n in 0..state {
        a[n] = gather(values.a, first, count, state, n).map(|a| a * std::f32::consts::LOG2_E);
        h[n] = match values.initial {
            Some(initial) => gather(initial, sample * width + first, count, state, n),
            None => [0.0; LANES],
        };
    }
    let (d, bias) = (
        load(values.d, first, count),
        load(values.delta_bias, first, count),
    );
    let [mut u, mut dt, mut z] = [[[0.0; LANES]; TILE]; 3];
    for start in (0..len).step_by(TILE) {
        if save {
            for (n, h) in h.iter().enumerate() {
                store(saved.row(start / TILE * state + n), h);
            }
        }
        let positions = TILE.min(len - start);
        let at = (sample * len + start) * width + first;
        let size = [positions, count, width];
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
            for (((h, a), &b), &c) in h.iter_mut().zip(&*a).zip(b).zip(c) {
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
            store(y.row(start + i), &out);
        }
    }
    for l in 0..count {
        for (value, h) in last.row(l).iter_mut().zip(&*h) {
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
