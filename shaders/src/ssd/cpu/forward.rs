//! The forward pass on the CPU.

use burn_flex::FlexTensor;

use super::{PARALLEL_PRODUCTS, Place, Scratch, Steps, products, scaled, slices, whole, whole_mut};
use crate::cpu::{contiguous, exp_negative, fresh, tensor, wide};
use crate::product::{Shared, tasks};
use crate::ssd::{CHUNK, Forward, Parts, Sizes};

/// `scores[t, u]` times the decay from u to t times δ_u; zero above the diagonal.
#[inline(always)]
fn weigh_body<const FMA: bool>(scores: &mut [f32], steps: &Steps) {
    let count = steps.count;
    for (t, row) in scores.chunks_exact_mut(count).enumerate() {
        let (whole, rest) = (steps.whole[t], steps.rest[t]);
        let (inside, above) = row.split_at_mut(t + 1);
        for (((score, &w), &r), &delta) in inside
            .iter_mut()
            .zip(&steps.whole)
            .zip(&steps.rest)
            .zip(&steps.delta)
        {
            *score *= exp_negative::<FMA>((whole - w) + (rest - r)) * delta;
        }
        above.fill(0.0);
    }
}

wide!(fn weigh(scores: &mut [f32], steps: &Steps) => weigh_body);

/// y, the state after the last position and, with `keep`, those before each chunk.
pub(in crate::ssd) fn forward(
    parts: Parts<FlexTensor>,
    initial_state: FlexTensor,
    given: bool,
    keep: bool,
) -> Forward<FlexTensor> {
    let parts = parts.map(contiguous);
    let initial_state = contiguous(initial_state);
    let sizes = Sizes::of(&parts, given);
    let Sizes {
        batch,
        len,
        heads,
        width,
        state,
        ..
    } = sizes;
    let values = slices(&parts);
    let initial = initial_state.storage::<f32>();
    let area = width * state;
    let chunks = sizes.chunks();
    let mut y = fresh(batch * len * heads * width);
    let mut last = fresh(batch * heads * area);
    let mut kept = fresh(if keep {
        batch * chunks * heads * area
    } else {
        0
    });
    let (shared_y, shared_last) = (Shared::new(&mut y), Shared::new(&mut last));
    let shared_kept = Shared::new(&mut kept);
    tasks(
        batch * heads,
        products(sizes) > PARALLEL_PRODUCTS,
        || Scratch::new(sizes),
        |scratch, task| {
            let (sample, head) = (task / heads, task % heads);
            // SAFETY: a task alone writes what belongs to its head of its sample; so below.
            let mut carried = unsafe { shared_last.matrix(task * area, [1, area], area) };
            let carried = carried.row(0);
            match given {
                true => carried.copy_from_slice(&initial[task * area..][..area]),
                false => carried.fill(0.0),
            }
            for chunk in 0..chunks {
                let place = Place {
                    sizes,
                    sample,
                    head,
                    chunk,
                };
                let count = place.count();
                if keep {
                    // SAFETY: as above.
                    let mut kept = unsafe { shared_kept.matrix(place.at_state(), [1, area], area) };
                    kept.row(0).copy_from_slice(carried);
                }
                let steps = &mut scratch.steps;
                steps.set(
                    values.dt,
                    place.steps(),
                    values.dt_bias[head],
                    values.a[head],
                );
                let (x, b, c) = (
                    place.of_head(values.x),
                    place.of_group(values.b),
                    place.of_group(values.c),
                );
                let scores = &mut scratch.scores[..count * count];
                whole_mut(scores, [count; 2]).set_product(c, b.transposed(), 1.0, false);
                weigh(scores, steps);
                for t in 0..count {
                    scores[t * count + t] += values.d[head];
                }
                // SAFETY: as above.
                let mut y =
                    unsafe { shared_y.matrix(place.at_head(), [count, width], heads * width) };
                y.set_product(whole(scores, [count; 2]), x, 1.0, false);
                if chunk > 0 || given {
                    let rows = [place.at_group(), sizes.groups * state, state];
                    let c = scaled(
                        values.c,
                        rows,
                        &steps.from_start[..count],
                        &mut scratch.rows,
                    );
                    y.set_product(c, whole(carried, [width, state]).transposed(), 1.0, true);
                }
                let decay = steps.total();
                carried.iter_mut().for_each(|value| *value *= decay);
                let factors: [f32; CHUNK] =
                    std::array::from_fn(|u| steps.to_end[u] * steps.delta[u]);
                let rows = [place.at_head(), heads * width, width];
                let x = scaled(values.x, rows, &factors[..count], &mut scratch.rows);
                whole_mut(carried, [width, state]).set_product(x.transposed(), b, 1.0, true);
            }
        },
    );
    let states = match keep {
        true => vec![tensor(kept, [batch, chunks, heads, width, state])],
        false => Vec::new(),
    };
    (
        tensor(y, [batch, len, heads, width]),
        tensor(last, [batch, heads, width, state]),
        states,
    )
}
