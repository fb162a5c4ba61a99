//! The backward pass on the CPU.

use burn_flex::FlexTensor;

use super::{PARALLEL_PRODUCTS, Place, Scratch, Steps, products, scaled, slices, whole, whole_mut};
use crate::cpu::{contiguous, exp_negative, fresh, multiply_add, tensor, wide};
use crate::product::{Shared, tasks};
use crate::ssd::{CHUNK, Parts, Sizes};

/// Heads whose gradients of b and c one task adds up. Fixed, so that the sums do not depend on the number of cores.
const HEADS: usize = 4;

/// 1 / (1 + e^−v), the exponent never above 0.
fn sigmoid(v: f32) -> f32 {
    let e = (-v.abs()).exp();
    (if v >= 0.0 { 1.0 } else { e }) / (1.0 + e)
}

/// From scores c bᵀ and products dy xᵀ: the scores become what the forward pass makes of them, the products the gradient of
/// c bᵀ, `dstep` the sums that reach δ_u directly, `dexponent` the gradient of each position's exponent through the pairs on
/// both sides of it. Sums of pairs, no differences of sums: nothing cancels.
#[inline(always)]
fn pairs_body<const FMA: bool>(
    scores: &mut [f32],
    products: &mut [f32],
    steps: &Steps,
    dstep: &mut [f32; CHUNK],
    dexponent: &mut [f32; CHUNK],
) {
    let count = steps.count;
    dstep.fill(0.0);
    for t in (0..count).rev() {
        let (whole, rest) = (steps.whole[t], steps.rest[t]);
        let score = &mut scores[t * count..(t + 1) * count];
        let product = &mut products[t * count..(t + 1) * count];
        for u in 0..=t {
            let decay = exp_negative::<FMA>((whole - steps.whole[u]) + (rest - steps.rest[u]));
            let (s, g) = (score[u] * decay, product[u] * decay);
            dstep[u] = multiply_add::<FMA>(s, product[u], dstep[u]);
            score[u] = s * steps.delta[u];
            product[u] = g * steps.delta[u];
        }
        score[t + 1..].fill(0.0);
        product[t + 1..].fill(0.0);
        let mut lanes = [0.0; 8];
        let (sums, rest_sums) = dstep[..t].as_chunks::<8>();
        let (deltas, rest_deltas) = steps.delta[..t].as_chunks::<8>();
        for (sums, deltas) in sums.iter().zip(deltas) {
            for l in 0..8 {
                lanes[l] = multiply_add::<FMA>(sums[l], deltas[l], lanes[l]);
            }
        }
        let last: f32 = rest_sums.iter().zip(rest_deltas).map(|(s, d)| s * d).sum();
        dexponent[t] = lanes.iter().sum::<f32>() + last;
    }
}

/// Sum of the products of two slices of one length.
#[inline(always)]
fn dot_body<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut lanes = [0.0; 16];
    for (a, b) in a.iter().zip(b) {
        for l in 0..16 {
            lanes[l] = multiply_add::<FMA>(a[l], b[l], lanes[l]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f32>() + rest
}

wide!(
    fn pairs(scores: &mut [f32], products: &mut [f32], steps: &Steps, dstep: &mut [f32; CHUNK], dexponent: &mut [f32; CHUNK]) => pairs_body
);
wide!(fn dot(a: &[f32], b: &[f32]) -> f32 => dot_body);

/// What the tasks of the backward pass write.
struct Results<'a> {
    dx: Shared<'a>,
    ddt: Shared<'a>,
    /// `[parts of a group, B, L, G, N]`
    db: Shared<'a>,
    dc: Shared<'a>,
    /// `[B, H, 3]`: da, dd, ddt_bias
    scalars: Shared<'a>,
}

/// The gradients of `parts`.
pub(in crate::ssd) fn backward(
    parts: Parts<FlexTensor>,
    states: Vec<FlexTensor>,
    given: bool,
    dy: FlexTensor,
) -> Parts<FlexTensor> {
    let parts = parts.map(contiguous);
    let dy = contiguous(dy);
    let sizes = Sizes::of(&parts, given);
    let Sizes {
        batch,
        len,
        heads,
        width,
        groups,
        state,
        ..
    } = sizes;
    let values = slices(&parts);
    let (states, dy) = (states[0].storage::<f32>(), dy.storage::<f32>());
    let of_group = batch * len * groups * state;
    let slots = sizes.sharing().div_ceil(HEADS);
    let mut dx = fresh(batch * len * heads * width);
    let mut ddt = fresh(batch * len * heads);
    let (mut db, mut dc) = (fresh(slots * of_group), fresh(slots * of_group));
    let mut scalars = fresh(batch * heads * 3);
    let results = Results {
        dx: Shared::new(&mut dx),
        ddt: Shared::new(&mut ddt),
        db: Shared::new(&mut db),
        dc: Shared::new(&mut dc),
        scalars: Shared::new(&mut scalars),
    };
    tasks(
        batch * groups * slots,
        products(sizes) > PARALLEL_PRODUCTS,
        || (Scratch::new(sizes), vec![0.0; width * state]),
        |(scratch, carried), task| {
            let (sample, group, slot) =
                (task / (groups * slots), task / slots % groups, task % slots);
            let first = group * sizes.sharing() + slot * HEADS;
            let end = (first + HEADS).min((group + 1) * sizes.sharing());
            for head in first..end {
                carried.fill(0.0);
                let mut sums = [0.0; 3];
                for chunk in (0..sizes.chunks()).rev() {
                    let place = Place {
                        sizes,
                        sample,
                        head,
                        chunk,
                    };
                    let inputs = (&values, &states[place.at_state()..][..width * state], dy);
                    let start = slot * of_group + place.at_group();
                    back(
                        place,
                        inputs,
                        start,
                        head > first,
                        scratch,
                        carried,
                        &results,
                        &mut sums,
                    );
                }
                let at = (sample * heads + head) * 3;
                // SAFETY: a task alone writes what belongs to its heads.
                let mut row = unsafe { results.scalars.matrix(at, [1, 3], 3) };
                row.row(0).copy_from_slice(&sums);
            }
        },
    );
    let mut of_heads: [Vec<f32>; 3] = std::array::from_fn(|_| vec![0.0; heads]);
    for (at, sums) in scalars.chunks_exact(3).enumerate() {
        for (of_heads, sum) in of_heads.iter_mut().zip(sums) {
            of_heads[at % heads] += sum;
        }
    }
    for gradient in [&mut db, &mut dc] {
        let (first, others) = gradient.split_at_mut(of_group);
        for other in others.chunks_exact(of_group) {
            first
                .iter_mut()
                .zip(other)
                .for_each(|(sum, value)| *sum += value);
        }
        gradient.truncate(of_group);
    }
    let [da, dd, ddt_bias] = of_heads.map(|values| tensor(values, [heads]));
    Parts {
        x: tensor(dx, [batch, len, heads, width]),
        dt: tensor(ddt, [batch, len, heads]),
        a: da,
        b: tensor(db, [batch, len, groups, state]),
        c: tensor(dc, [batch, len, groups, state]),
        d: dd,
        dt_bias: ddt_bias,
    }
}

/// One chunk of a head backwards. `carried` is the gradient of the state after the chunk, then, unless it is the first, of that before it;
/// `at_group` where the chunk starts in db and dc, to which it adds when `add`.
#[allow(clippy::too_many_arguments)] // One loop body, taken out of two loops.
fn back(
    place: Place,
    (values, before, dy): (&Parts<&[f32]>, &[f32], &[f32]),
    at_group: usize,
    add: bool,
    scratch: &mut Scratch,
    carried: &mut [f32],
    results: &Results<'_>,
    [da, dd, ddt_bias]: &mut [f32; 3],
) {
    let Sizes {
        heads,
        width,
        groups,
        state,
        ..
    } = place.sizes;
    let (head, count) = (place.head, place.count());
    let Scratch {
        steps,
        scores,
        products,
        rows,
        more_rows,
    } = scratch;
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
    let upstream = place.of_head(dy);
    let (scores, products) = (&mut scores[..count * count], &mut products[..count * count]);
    whole_mut(scores, [count; 2]).set_product(c, b.transposed(), 1.0, false);
    whole_mut(products, [count; 2]).set_product(upstream, x.transposed(), 1.0, false);
    *dd += (0..count).map(|t| products[t * count + t]).sum::<f32>();
    let (mut dstep, mut dexponent) = ([0.0; CHUNK], [0.0; CHUNK]);
    pairs(scores, products, steps, &mut dstep, &mut dexponent);
    for t in 0..count {
        scores[t * count + t] += values.d[head];
    }
    // SAFETY: a task alone writes what belongs to its heads of its sample.
    let (mut dx, mut ddt, mut db, mut dc) = unsafe {
        let of_group = [count, state];
        (
            results
                .dx
                .matrix(place.at_head(), [count, width], heads * width),
            results.ddt.matrix(place.steps()[0], [count, 1], heads),
            results.db.matrix(at_group, of_group, groups * state),
            results.dc.matrix(at_group, of_group, groups * state),
        )
    };
    dx.set_product(whole(scores, [count; 2]).transposed(), upstream, 1.0, false);
    let products = whole(products, [count; 2]);
    dc.set_product(products, b, 1.0, add);
    db.set_product(products.transposed(), c, 1.0, add);

    // What went into the state after the chunk, which nobody reads behind the last one.
    let (at, stride) = (place.at_head(), heads * width);
    if place.chunk + 1 < place.sizes.chunks() {
        let adjoint = whole(carried, [width, state]);
        whole_mut(rows, [count, width]).set_product(b, adjoint.transposed(), 1.0, false);
        let mut through = 0.0;
        for u in 0..count {
            let row = &rows[u * width..][..width];
            let reach = steps.to_end[u] * dot(&values.x[at + u * stride..][..width], row);
            // The exponents of later positions of the chunk lie between u and its end.
            dexponent[u] += through;
            through += steps.delta[u] * reach;
            dstep[u] += reach;
            let factor = steps.to_end[u] * steps.delta[u];
            for (dx, &value) in dx.row(u).iter_mut().zip(row) {
                *dx += factor * value;
            }
        }
        let factors: [f32; CHUNK] = std::array::from_fn(|u| steps.to_end[u] * steps.delta[u]);
        let weighed = scaled(values.x, [at, stride, width], &factors[..count], rows);
        db.set_product(weighed, adjoint, 1.0, true);
    }

    // What came from the state before it: nothing where there is none.
    if place.chunk > 0 || place.sizes.given {
        let before_state = whole(before, [width, state]);
        whole_mut(rows, [count, width]).set_product(c, before_state.transposed(), 1.0, false);
        let factors = &steps.from_start[..count];
        let weighed = scaled(dy, [at, stride, width], factors, more_rows);
        dc.set_product(weighed, before_state, 1.0, true);
        let mut through = steps.total() * dot(before, carried);
        for t in (0..count).rev() {
            let [weighed, row] = [&*more_rows, &*rows].map(|rows| &rows[t * width..][..width]);
            through += dot(weighed, row);
            dexponent[t] += through;
        }
    }
    // No gradient of a given state is asked for.
    if place.chunk > 0 {
        let decay = steps.total();
        carried.iter_mut().for_each(|value| *value *= decay);
        let weighed = whole(more_rows, [count, width]);
        whole_mut(carried, [width, state]).set_product(weighed.transposed(), c, 1.0, true);
    }

    for t in 0..count {
        *da += dexponent[t] * steps.delta[t];
        let value = (dstep[t] + values.a[head] * dexponent[t]) * sigmoid(steps.raw[t]);
        ddt.row(t)[0] = value;
        *ddt_bias += value;
    }
}
