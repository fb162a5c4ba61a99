//! The gradients of the scan on the CPU.

use std::f32::consts::{LN_2, LOG2_E};

use burn_flex::FlexTensor;

use super::{
    LANES, Lanes, Sizes, Values, exp2_negative, gather, load, load_rows, sigmoid, softplus, store,
};
use crate::cpu::{contiguous, fresh, multiply_add, tensor, wide};
use crate::product::{MatrixMut, Shared, tasks};
use crate::selective_scan::{Inputs, TILE};

/// Blocks of channels of a task. Part of the result: the gradients of b and c are summed task by task.
const BLOCKS: usize = 8;
/// Partial sums over channels.
const HALF: usize = LANES / 2;

/// Gradients of u, delta, a, b, c, d, delta_bias and, with a gate, z.
pub(in super::super) fn backward(
    inputs: Inputs<FlexTensor>,
    saved: FlexTensor,
    dy: FlexTensor,
) -> [Option<FlexTensor>; 8] {
    let (inputs, saved, dy) = (inputs.map(contiguous), contiguous(saved), contiguous(dy));
    let values = Values::of(&inputs);
    let sizes = values.sizes;
    let Sizes {
        batch,
        len,
        width,
        state,
    } = sizes;
    let groups = width.div_ceil(BLOCKS * LANES);
    let gated = values.z.is_some();
    let (positions, rows) = (batch * len * width, batch * len * state);
    let [mut du, mut ddelta] = [(); 2].map(|()| fresh(positions));
    let mut dz = fresh(if gated { positions } else { 0 });
    let [mut db, mut dc] = [(); 2].map(|()| fresh(groups * rows));
    // Of each sample, for a, d and the bias.
    let mut sums = fresh(batch * (state + 2) * width);
    {
        let out = [&mut du, &mut ddelta, &mut dz, &mut db, &mut dc, &mut sums];
        let [du, ddelta, dz, db, dc, sums] = out.map(|values| Shared::new(values));
        let (saved, dy) = (saved.storage::<f32>(), dy.storage::<f32>());
        tasks(
            batch * groups,
            sizes.parallel(),
            || Scratch::new(state),
            |scratch, task| {
                let (sample, group) = (task / groups, task % groups);
                let first = group * BLOCKS * LANES;
                let count = (BLOCKS * LANES).min(width - first);
                // SAFETY: a task alone writes its channels of its sample, and its own sums.
                let mut out = unsafe {
                    let at = sample * len * width + first;
                    let gate_rows = if gated { len } else { 0 };
                    let row = (group * batch + sample) * len * state;
                    let sums_at = sample * (state + 2) * width + first;
                    Out {
                        du: du.matrix(at, [len, count], width),
                        ddelta: ddelta.matrix(at, [len, count], width),
                        dz: dz.matrix(at, [gate_rows, count], width),
                        db: db.matrix(row, [len, state], state),
                        dc: dc.matrix(row, [len, state], state),
                        sums: sums.matrix(sums_at, [state + 2, count], width),
                    }
                };
                let given = Given {
                    values: &values,
                    saved,
                    dy,
                };
                gradients(&given, [sample, first, count], scratch, &mut out);
            },
        );
    }
    let [db, dc] = [db, dc].map(|mut parts| {
        fold(&mut parts, rows);
        tensor(parts, [batch, len, state])
    });
    fold(&mut sums, (state + 2) * width);
    let mut da = fresh(width * state);
    for (channel, row) in da.chunks_exact_mut(state).enumerate() {
        for (n, value) in row.iter_mut().enumerate() {
            *value = sums[n * width + channel];
        }
    }
    let vector = |row: usize| tensor(sums[row * width..(row + 1) * width].to_vec(), [width]);
    [
        Some(tensor(du, [batch, len, width])),
        Some(tensor(ddelta, [batch, len, width])),
        Some(tensor(da, [width, state])),
        Some(db),
        Some(dc),
        Some(vector(state)),
        Some(vector(state + 1)),
        gated.then(|| tensor(dz, [batch, len, width])),
    ]
}

/// Adds the parts of `len` values to the first and drops them.
fn fold(parts: &mut Vec<f32>, len: usize) {
    let (sum, rest) = parts.split_at_mut(len);
    for part in rest.chunks_exact(len) {
        for (sum, value) in sum.iter_mut().zip(part) {
            *sum += value;
        }
    }
    parts.truncate(len);
}

/// What the gradients come from.
pub(crate) struct Given<'a> {
    values: &'a Values<'a>,
    saved: &'a [f32],
    dy: &'a [f32],
}

/// A task's part of the results.
pub(crate) struct Out<'a> {
    du: MatrixMut<'a>,
    ddelta: MatrixMut<'a>,
    dz: MatrixMut<'a>,
    db: MatrixMut<'a>,
    dc: MatrixMut<'a>,
    /// Rows of a, then d and the bias.
    sums: MatrixMut<'a>,
}

/// One block of channels over the whole sequence.
#[derive(Clone)]
struct Block {
    /// (state): rates of decay in powers of two, and the gradient of what follows times the decay there.
    a: Vec<Lanes>,
    adjoint: Vec<Lanes>,
    da: Vec<Lanes>,
    dd: Lanes,
    dbias: Lanes,
}

/// What a thread keeps from one task to the next.
pub(crate) struct Scratch {
    blocks: Vec<Block>,
    h: Vec<Lanes>,
    /// (position of the tile, state)
    decay: Vec<Lanes>,
    kept: Vec<Lanes>,
    db: Vec<[f32; HALF]>,
    dc: Vec<[f32; HALF]>,
}

impl Scratch {
    fn new(state: usize) -> Self {
        let rows = vec![[0.0; LANES]; state];
        let block = Block {
            a: rows.clone(),
            adjoint: rows.clone(),
            da: rows.clone(),
            dd: [0.0; LANES],
            dbias: [0.0; LANES],
        };
        Self {
            blocks: vec![block; BLOCKS],
            h: rows,
            decay: vec![[0.0; LANES]; TILE * state],
            kept: vec![[0.0; LANES]; TILE * state],
            db: vec![[0.0; HALF]; TILE * state],
            dc: vec![[0.0; HALF]; TILE * state],
        }
    }
}

/// What a position of a tile needs on the way back.
#[derive(Clone, Copy)]
struct Position {
    dt: Lanes,
    /// Slope of the softplus.
    slope: Lanes,
    u: Lanes,
    /// Gradient before the gate.
    g: Lanes,
}

/// Adds products of two blocks to partial sums over the channels.
#[inline(always)]
fn add_products<const FMA: bool>(sums: &mut [f32; HALF], x: &Lanes, y: &Lanes) {
    for l in 0..HALF {
        let low = multiply_add::<FMA>(x[l], y[l], sums[l]);
        sums[l] = multiply_add::<FMA>(x[l + HALF], y[l + HALF], low);
    }
}

#[inline(always)]
fn gradients_body<const FMA: bool>(
    given: &Given<'_>,
    [sample, first, count]: [usize; 3],
    scratch: &mut Scratch,
    out: &mut Out<'_>,
) {
    let values = given.values;
    let Sizes { len, state, .. } = values.sizes;
    let blocks = count.div_ceil(LANES);
    for (number, block) in scratch.blocks[..blocks].iter_mut().enumerate() {
        let offset = number * LANES;
        let lanes = LANES.min(count - offset);
        for n in 0..state {
            block.a[n] = gather(values.a, first + offset, lanes, state, n).map(|a| a * LOG2_E);
        }
        block.adjoint.fill([0.0; LANES]);
        block.da.fill([0.0; LANES]);
        (block.dd, block.dbias) = ([0.0; LANES], [0.0; LANES]);
    }
    let tiles = len.div_ceil(TILE);
    for tile in (0..tiles).rev() {
        scratch.db.fill([0.0; HALF]);
        scratch.dc.fill([0.0; HALF]);
        for number in 0..blocks {
            let lanes = LANES.min(count - number * LANES);
            tile_body::<FMA>(
                given,
                [sample, first, number * LANES, lanes, tile],
                scratch,
                out,
            );
        }
        for t in tile * TILE..len.min((tile + 1) * TILE) {
            let at = (t - tile * TILE) * state;
            for (out, sums) in [(&mut out.db, &scratch.db), (&mut out.dc, &scratch.dc)] {
                for (value, sums) in out.row(t).iter_mut().zip(&sums[at..]) {
                    *value = sums.iter().sum();
                }
            }
        }
    }
    for (number, block) in scratch.blocks[..blocks].iter().enumerate() {
        let channels = number * LANES..count.min((number + 1) * LANES);
        let rows = block.da.iter().chain([&block.dd, &block.dbias]);
        for (row, lanes) in rows.enumerate() {
            store(&mut out.sums.row(row)[channels.clone()], lanes);
        }
    }
}

/// A block of channels of a tile: forwards from the saved states, then backwards.
#[inline(always)]
fn tile_body<const FMA: bool>(
    given: &Given<'_>,
    [sample, group, offset, count, tile]: [usize; 5],
    scratch: &mut Scratch,
    out: &mut Out<'_>,
) {
    let values = given.values;
    let Sizes {
        len, width, state, ..
    } = values.sizes;
    let first = group + offset;
    let tiles = len.div_ceil(TILE);
    let Scratch {
        blocks,
        h,
        decay,
        kept,
        db,
        dc,
    } = scratch;
    let block = &mut blocks[offset / LANES];
    for (n, h) in h.iter_mut().enumerate() {
        let row = (sample * tiles + tile) * state + n;
        *h = load(given.saved, row * width + first, count);
    }
    let (d, bias) = (
        load(values.d, first, count),
        load(values.delta_bias, first, count),
    );
    let start = tile * TILE;
    let positions = TILE.min(len - start);
    let channels = offset..offset + count;
    let zero = [0.0; LANES];
    let mut tile = [Position {
        dt: zero,
        slope: zero,
        u: zero,
        g: zero,
    }; TILE];
    let [mut us, mut deltas, mut dys, mut gates] = [[zero; TILE]; 4];
    let at = (sample * len + start) * width + first;
    let size = [positions, count, width];
    load_rows(&mut us, values.u, at, size);
    load_rows(&mut deltas, values.delta, at, size);
    load_rows(&mut dys, given.dy, at, size);
    if let Some(z) = values.z {
        load_rows(&mut gates, z, at, size);
    }
    for (i, position) in tile[..positions].iter_mut().enumerate() {
        let row = sample * len + start + i;
        let (u, delta, dy) = (us[i], deltas[i], dys[i]);
        let (mut dt, mut slope, mut g) = (zero, zero, dy);
        let (mut enters, mut y, mut gate_slope) = (zero, zero, zero);
        for l in 0..LANES {
            dt[l] = softplus::<FMA>(delta[l] + bias[l]);
            slope[l] = sigmoid::<FMA>(delta[l] + bias[l]);
            enters[l] = dt[l] * u[l];
            y[l] = d[l] * u[l];
        }
        if values.z.is_some() {
            let z = gates[i];
            for l in 0..LANES {
                let s = sigmoid::<FMA>(z[l]);
                g[l] = dy[l] * z[l] * s;
                gate_slope[l] = dy[l] * s * multiply_add::<FMA>(z[l], 1.0 - s, 1.0);
            }
        }
        let (b, c) = (
            &values.b[row * state..(row + 1) * state],
            &values.c[row * state..(row + 1) * state],
        );
        let here = i * state..(i + 1) * state;
        let rows = decay[here.clone()]
            .iter_mut()
            .zip(&mut kept[here.clone()])
            .zip(&mut dc[here]);
        let states = h.iter_mut().zip(&block.a).zip(b).zip(c);
        for ((((h, a), &b), &c), ((decay, kept), dc)) in states.zip(rows) {
            for l in 0..LANES {
                decay[l] = exp2_negative::<FMA>(dt[l] * a[l]);
                kept[l] = decay[l] * h[l];
                h[l] = multiply_add::<FMA>(enters[l], b, kept[l]);
                y[l] = multiply_add::<FMA>(h[l], c, y[l]);
            }
            add_products::<FMA>(dc, h, &g);
        }
        for l in 0..LANES {
            block.dd[l] = multiply_add::<FMA>(g[l], u[l], block.dd[l]);
        }
        if values.z.is_some() {
            for l in 0..LANES {
                y[l] *= gate_slope[l];
            }
            store(&mut out.dz.row(start + i)[channels.clone()], &y);
        }
        *position = Position { dt, slope, u, g };
    }
    for (i, position) in tile[..positions].iter().enumerate().rev() {
        let Position { dt, slope, u, g } = position;
        let row = sample * len + start + i;
        let (b, c) = (
            &values.b[row * state..(row + 1) * state],
            &values.c[row * state..(row + 1) * state],
        );
        let mut enters = zero;
        for l in 0..LANES {
            enters[l] = dt[l] * u[l];
        }
        let (mut du, mut ddt) = (zero, zero);
        let here = i * state..(i + 1) * state;
        let rows = decay[here.clone()]
            .iter()
            .zip(&kept[here.clone()])
            .zip(&mut db[here]);
        let states = block
            .adjoint
            .iter_mut()
            .zip(&mut block.da)
            .zip(&block.a)
            .zip(b)
            .zip(c);
        for (((((adjoint, da), a), &b), &c), ((decay, kept), db)) in states.zip(rows) {
            let mut whole = zero;
            for l in 0..LANES {
                whole[l] = multiply_add::<FMA>(g[l], c, adjoint[l]);
                let past = whole[l] * kept[l];
                du[l] = multiply_add::<FMA>(whole[l], b, du[l]);
                ddt[l] = multiply_add::<FMA>(a[l], past, ddt[l]);
                da[l] = multiply_add::<FMA>(dt[l], past, da[l]);
                adjoint[l] = decay[l] * whole[l];
            }
            add_products::<FMA>(db, &whole, &enters);
        }
        for l in 0..LANES {
            // What enters a state is dt B u: its share of the slope of dt is u times that of u.
            ddt[l] = multiply_add::<FMA>(u[l], du[l], LN_2 * ddt[l]) * slope[l];
            du[l] = multiply_add::<FMA>(dt[l], du[l], d[l] * g[l]);
            block.dbias[l] += ddt[l];
        }
        store(&mut out.du.row(start + i)[channels.clone()], &du);
        store(&mut out.ddelta.row(start + i)[channels.clone()], &ddt);
    }
}

// With AVX-512 it took 1.05 to 1.15 times as long at 128 and 1,024 positions of Pythia-160m's width.
wide! {
    avx2 fn gradients(
        given: &Given<'_>,
        place: [usize; 3],
        scratch: &mut Scratch,
        out: &mut Out<'_>,
    ) => gradients_body
}
