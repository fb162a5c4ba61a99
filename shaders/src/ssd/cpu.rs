//! The scan of Mamba-2 on the CPU: a head of a sample a task, its chunks one after the other, each as matrix products.

use burn_flex::FlexTensor;

use super::{CHUNK, EXPONENT_STEPS, Forward, LEAST_EXPONENT, Parts, Sizes};
use crate::cpu::{contiguous, exp_negative, fresh, multiply_add, tensor, wide};
use crate::product::{Matrix, MatrixMut, Shared, tasks};

/// Heads whose gradients of b and c one task adds up. Fixed, so that the sums do not depend on the number of cores.
const HEADS: usize = 4;
/// Below this many products of two numbers one core is faster than waking the others.
const PARALLEL_PRODUCTS: usize = 256 * 1024;

/// ln(1 + e^v) without overflow.
pub(super) fn softplus(v: f32) -> f32 {
    v.max(0.0) + (-v.abs()).exp().ln_1p()
}

/// 1 / (1 + e^−v), the exponent never above 0.
fn sigmoid(v: f32) -> f32 {
    let e = (-v.abs()).exp();
    (if v >= 0.0 { 1.0 } else { e }) / (1.0 + e)
}

/// Steps and summed exponents of the positions of one chunk and head.
pub(super) struct Steps {
    /// dt + dt_bias
    raw: [f32; CHUNK],
    /// softplus of it
    delta: [f32; CHUNK],
    /// The exponent of the decay from the start of the chunk is `whole` + `rest`.
    whole: [f32; CHUNK],
    rest: [f32; CHUNK],
    /// e^ of that exponent.
    from_start: [f32; CHUNK],
    /// e^ of the exponent from the position to the chunk's last.
    to_end: [f32; CHUNK],
    count: usize,
}

impl Steps {
    fn new() -> Self {
        let zeros = [0.0; CHUNK];
        Self {
            raw: zeros,
            delta: zeros,
            whole: zeros,
            rest: zeros,
            from_start: zeros,
            to_end: zeros,
            count: 0,
        }
    }

    /// Of the `count` values of `dt` from `first`, `stride` apart.
    fn set(&mut self, dt: &[f32], [first, stride, count]: [usize; 3], bias: f32, a: f32) {
        let (mut whole, mut rest) = (0.0, 0.0);
        for t in 0..count {
            self.raw[t] = dt[first + t * stride] + bias;
            self.delta[t] = softplus(self.raw[t]);
            let exponent = self.delta[t] * a;
            // A comparison, not `max`: NaN must pass through.
            let exponent = if exponent < LEAST_EXPONENT {
                LEAST_EXPONENT
            } else {
                exponent
            };
            let step = (exponent * EXPONENT_STEPS).round() / EXPONENT_STEPS;
            whole += step;
            rest += exponent - step;
            self.whole[t] = whole;
            self.rest[t] = rest;
        }
        for t in 0..count {
            self.from_start[t] = (self.whole[t] + self.rest[t]).exp();
            self.to_end[t] = ((whole - self.whole[t]) + (rest - self.rest[t])).exp();
        }
        self.count = count;
    }

    /// The decay over the whole chunk.
    fn total(&self) -> f32 {
        self.from_start[self.count - 1]
    }
}

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

/// From scores c bᵀ and products dy xᵀ: the scores become what [`weigh_body`] makes of them, the products the gradient of
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

wide!(fn weigh(scores: &mut [f32], steps: &Steps) => weigh_body);
wide!(
    fn pairs(scores: &mut [f32], products: &mut [f32], steps: &Steps, dstep: &mut [f32; CHUNK], dexponent: &mut [f32; CHUNK]) => pairs_body
);
wide!(fn dot(a: &[f32], b: &[f32]) -> f32 => dot_body);

/// Where a chunk of a head of a sample lies.
#[derive(Clone, Copy)]
struct Place {
    sizes: Sizes,
    sample: usize,
    head: usize,
    chunk: usize,
}

impl Place {
    fn first(self) -> usize {
        self.chunk * CHUNK
    }

    fn count(self) -> usize {
        CHUNK.min(self.sizes.len - self.first())
    }

    /// First, stride and count of the chunk in `[B, L, H]`.
    fn steps(self) -> [usize; 3] {
        let Sizes { len, heads, .. } = self.sizes;
        [
            (self.sample * len + self.first()) * heads + self.head,
            heads,
            self.count(),
        ]
    }

    /// Start of the chunk in `[B, L, H, P]`.
    fn at_head(self) -> usize {
        self.steps()[0] * self.sizes.width
    }

    /// The chunk of `[B, L, H, P]`, `[count, P]`.
    fn of_head(self, values: &[f32]) -> Matrix<'_> {
        let Sizes { heads, width, .. } = self.sizes;
        let shape = [self.count(), width];
        Matrix::new(values, self.at_head(), shape, [(heads * width) as isize, 1])
    }

    /// Start of the chunk in `[B, L, G, N]`.
    fn at_group(self) -> usize {
        let Sizes {
            len, groups, state, ..
        } = self.sizes;
        let group = self.head / self.sizes.sharing();
        ((self.sample * len + self.first()) * groups + group) * state
    }

    /// The chunk of `[B, L, G, N]`, `[count, N]`.
    fn of_group(self, values: &[f32]) -> Matrix<'_> {
        let Sizes { groups, state, .. } = self.sizes;
        let shape = [self.count(), state];
        Matrix::new(
            values,
            self.at_group(),
            shape,
            [(groups * state) as isize, 1],
        )
    }

    /// Start of the state in `[B, chunks, H, P, N]`.
    fn at_state(self) -> usize {
        let Sizes {
            heads,
            width,
            state,
            ..
        } = self.sizes;
        ((self.sample * self.sizes.chunks() + self.chunk) * heads + self.head) * width * state
    }
}

/// What a thread keeps from one task to the next.
struct Scratch {
    steps: Steps,
    scores: Vec<f32>,
    products: Vec<f32>,
    rows: Vec<f32>,
    more_rows: Vec<f32>,
}

impl Scratch {
    fn new(sizes: Sizes) -> Self {
        let widest = sizes.width.max(sizes.state);
        Self {
            steps: Steps::new(),
            scores: vec![0.0; CHUNK * CHUNK],
            products: vec![0.0; CHUNK * CHUNK],
            rows: vec![0.0; CHUNK * widest],
            more_rows: vec![0.0; CHUNK * widest],
        }
    }
}

/// Rows `[count, columns]` of `values`, each times its factor, side by side in `out`.
fn scaled<'a>(
    values: &[f32],
    [first, stride, columns]: [usize; 3],
    factors: &[f32],
    out: &'a mut [f32],
) -> Matrix<'a> {
    for (row, (out, &factor)) in out.chunks_exact_mut(columns).zip(factors).enumerate() {
        let from = &values[first + row * stride..][..columns];
        for (out, &value) in out.iter_mut().zip(from) {
            *out = value * factor;
        }
    }
    whole(out, [factors.len(), columns])
}

/// A matrix of neighbouring rows.
fn whole(values: &[f32], shape: [usize; 2]) -> Matrix<'_> {
    Matrix::new(values, 0, shape, [shape[1] as isize, 1])
}

fn whole_mut(values: &mut [f32], shape: [usize; 2]) -> MatrixMut<'_> {
    MatrixMut::new(values, 0, shape, shape[1])
}

fn products(sizes: Sizes) -> usize {
    sizes.batch * sizes.len * sizes.heads * (sizes.width + CHUNK) * sizes.state
}

/// y, the state after the last position and, with `keep`, those before each chunk.
pub(super) fn forward(
    parts: Parts<FlexTensor>,
    initial_state: FlexTensor,
    given: bool,
    keep: bool,
) -> Forward<FlexTensor> {
    let parts = parts.map(contiguous);
    let initial_state = contiguous(initial_state);
    let sizes = Sizes::of(&parts);
    let Sizes {
        batch,
        len,
        heads,
        width,
        state,
        ..
    } = sizes;
    let values = Parts {
        x: parts.x.storage::<f32>(),
        dt: parts.dt.storage::<f32>(),
        a: parts.a.storage::<f32>(),
        b: parts.b.storage::<f32>(),
        c: parts.c.storage::<f32>(),
        d: parts.d.storage::<f32>(),
        dt_bias: parts.dt_bias.storage::<f32>(),
    };
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
            carried.copy_from_slice(&initial[task * area..][..area]);
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
pub(super) fn backward(
    parts: Parts<FlexTensor>,
    states: Vec<FlexTensor>,
    dy: FlexTensor,
) -> Parts<FlexTensor> {
    let parts = parts.map(contiguous);
    let dy = contiguous(dy);
    let sizes = Sizes::of(&parts);
    let Sizes {
        batch,
        len,
        heads,
        width,
        groups,
        state,
    } = sizes;
    let values = Parts {
        x: parts.x.storage::<f32>(),
        dt: parts.dt.storage::<f32>(),
        a: parts.a.storage::<f32>(),
        b: parts.b.storage::<f32>(),
        c: parts.c.storage::<f32>(),
        d: parts.d.storage::<f32>(),
        dt_bias: parts.dt_bias.storage::<f32>(),
    };
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

/// One chunk of a head backwards. `carried` is the gradient of the state after the chunk, then of that before it; `at_group`
/// where the chunk starts in db and dc, to which it adds when `add`.
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

    // What went into the state after the chunk.
    let (at, stride) = (place.at_head(), heads * width);
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

    // What came from the state before it.
    let before_state = whole(before, [width, state]);
    whole_mut(rows, [count, width]).set_product(c, before_state.transposed(), 1.0, false);
    let weighed = scaled(
        dy,
        [at, stride, width],
        &steps.from_start[..count],
        more_rows,
    );
    dc.set_product(weighed, before_state, 1.0, true);
    let mut through = steps.total() * dot(before, carried);
    for t in (0..count).rev() {
        through += dot(
            &more_rows[t * width..][..width],
            &rows[t * width..][..width],
        );
        dexponent[t] += through;
    }
    let decay = steps.total();
    carried.iter_mut().for_each(|value| *value *= decay);
    let weighed = whole(more_rows, [count, width]);
    whole_mut(carried, [width, state]).set_product(weighed.transposed(), c, 1.0, true);

    for t in 0..count {
        *da += dexponent[t] * steps.delta[t];
        let value = (dstep[t] + values.a[head] * dexponent[t]) * sigmoid(steps.raw[t]);
        ddt.row(t)[0] = value;
        *ddt_bias += value;
    }
}
