//! Launches the scan of Mamba-2: the order of its kernels, for as many samples at a time as a browser binds.

use std::ops::Range;

use burn::backend::ops::FloatTensorOps;
use burn::tensor::Slice;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::products::TILE;
use super::{CHUNK, Forward, Parts, Sizes};
use crate::block_product::THREADS;
use crate::column_sum;
use crate::launch::{Kernel, SLICE_BYTES, contiguous, empty, samples};

const PAIRS: &str = concat!(include_str!("position.wgsl"), include_str!("pairs.wgsl"));
const EXPONENTS: &str = concat!(
    include_str!("position.wgsl"),
    include_str!("exponents.wgsl")
);

impl Sizes {
    /// As many samples at a time as every browser binds of the largest tensors between the kernels.
    fn slices(self) -> impl Iterator<Item = Range<usize>> {
        let one = self.chunks() * self.heads * (self.width * self.state).max(CHUNK * CHUNK) * 4;
        let at_once = (SLICE_BYTES / one).clamp(1, self.batch);
        (0..self.batch)
            .step_by(at_once)
            .map(move |first| first..(first + at_once).min(self.batch))
    }
}

/// y, the state after the last position and the states before each chunk.
pub(super) fn forward(
    parts: Parts<CubeTensor>,
    initial_state: CubeTensor,
    given: bool,
    keep: bool,
) -> Forward<CubeTensor> {
    let sizes = Sizes::of(&parts, given);
    let (mut ys, mut lasts, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for range in sizes.slices() {
        let whole = range.len() == sizes.batch;
        let (parts, state) = match whole {
            true => (parts.clone(), initial_state.clone()),
            false if given => (of_samples(&parts, &range), samples(&initial_state, &range)),
            false => (of_samples(&parts, &range), initial_state.clone()),
        };
        let (y, last, states) = forward_slice(parts, state, given);
        if whole {
            let kept = if keep { vec![states] } else { Vec::new() };
            return (y, last, kept);
        }
        ys.push(y);
        lasts.push(last);
        kept.extend(Some(states).filter(|_| keep));
    }
    (
        CubeBackend::float_cat(ys, 0),
        CubeBackend::float_cat(lasts, 0),
        kept,
    )
}

/// The parts of the samples `range`; what belongs to the heads is the same for all.
fn of_samples(parts: &Parts<CubeTensor>, range: &Range<usize>) -> Parts<CubeTensor> {
    Parts {
        x: samples(&parts.x, range),
        dt: samples(&parts.dt, range),
        b: samples(&parts.b, range),
        c: samples(&parts.c, range),
        ..parts.clone()
    }
}

fn forward_slice(
    parts: Parts<CubeTensor>,
    initial_state: CubeTensor,
    given: bool,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let parts = parts.map(contiguous);
    let sizes = Sizes::of(&parts, given);
    let steps = sizes.steps(&parts);
    let scores = sizes.scores(&parts);
    // Overwritten with the last state.
    let first = given.then(|| own(contiguous(initial_state)));
    let (states, last) = sizes.carry(&parts.b, &parts.x, &steps, first, false);
    let y = sizes.output(
        [&scores, &parts.c, &states, &steps, &parts.x, &parts.d],
        false,
    );
    (y, last, states)
}

/// The tensor itself when nobody else holds its values, a copy otherwise.
pub(super) fn own(tensor: CubeTensor) -> CubeTensor {
    if tensor.can_mut() {
        tensor
    } else {
        tensor.copy()
    }
}

/// The gradients of `parts`.
pub(super) fn backward(
    parts: Parts<CubeTensor>,
    states: Vec<CubeTensor>,
    given: bool,
    dy: CubeTensor,
) -> Parts<CubeTensor> {
    let sizes = Sizes::of(&parts, given);
    let gradients: Vec<_> = sizes
        .slices()
        .zip(states)
        .map(|(range, states)| match range.len() == sizes.batch {
            true => backward_slice(parts.clone(), states, given, dy.clone()),
            false => {
                let parts = of_samples(&parts, &range);
                backward_slice(parts, states, given, samples(&dy, &range))
            }
        })
        .collect();
    let join = |part: fn(&Parts<CubeTensor>) -> &CubeTensor| {
        let tensors = gradients.iter().map(|gradients| part(gradients).clone());
        CubeBackend::float_cat(tensors.collect(), 0)
    };
    let add = |part: fn(&Parts<CubeTensor>) -> &CubeTensor| {
        let tensors = gradients.iter().map(|gradients| part(gradients).clone());
        tensors
            .reduce(CubeBackend::float_add)
            .expect("a batch has samples")
    };
    if let [gradients] = &gradients[..] {
        return gradients.clone();
    }
    Parts {
        x: join(|gradients| &gradients.x),
        dt: join(|gradients| &gradients.dt),
        a: add(|gradients| &gradients.a),
        b: join(|gradients| &gradients.b),
        c: join(|gradients| &gradients.c),
        d: add(|gradients| &gradients.d),
        dt_bias: add(|gradients| &gradients.dt_bias),
    }
}

fn backward_slice(
    parts: Parts<CubeTensor>,
    states: CubeTensor,
    given: bool,
    dy: CubeTensor,
) -> Parts<CubeTensor> {
    let parts = parts.map(contiguous);
    let dy = contiguous(dy);
    let sizes = Sizes::of(&parts, given);
    let Parts { x, a, b, c, d, .. } = &parts;
    let steps = sizes.steps(&parts);
    let scores = sizes.scores(&parts);
    let (after, _) = sizes.carry(c, &dy, &steps, None, true);
    let dx = sizes.output([&scores, b, &after, &steps, &dy, d], true);
    let products = sizes.products(x, &dy, &steps);
    let dc = sizes.vectors([&products, b, &states, &steps, &dy], false);
    let db = sizes.vectors([&products, c, &after, &steps, x], true);
    let tiles = sizes.state.div_ceil(TILE);
    let (chunks, heads) = (sizes.chunks(), sizes.heads);
    let cells = sizes.batch * chunks;
    let dots = empty(x, [2, cells, heads, tiles, CHUNK]);
    sizes.dots([&dy, c, &states, &dots], 0);
    sizes.dots([x, b, &after, &dots], 1);
    let pairs = empty(x, [sizes.batch, sizes.len, heads, 2]);
    let of_cells = empty(x, [cells, heads, 2]);
    let area = sizes.width * sizes.state;
    Kernel::new("ssd pairs", PAIRS, CHUNK as u32)
        .workgroup_memory(2080 * 4 + 64 * 8)
        .launch(
            &[
                &products, &scores, &steps, &states, &after, &pairs, &of_cells,
            ],
            &[sizes.batch, sizes.len, heads, sizes.groups, area, chunks].map(|size| size as u32),
            cells * heads,
        );
    let ddt = empty(x, [sizes.batch, sizes.len, heads]);
    let partial = empty(x, [cells, 3 * heads]);
    Kernel::new("ssd exponents", EXPONENTS, THREADS).launch(
        &[&pairs, &of_cells, &dots, &steps, a, &ddt, &partial],
        &[sizes.batch, sizes.len, heads, chunks, tiles].map(|size| size as u32),
        (cells * heads).div_ceil(THREADS as usize),
    );
    let sums = column_sum::launch(partial);
    let [da, dd, ddt_bias] = [0, 1, 2].map(|part| {
        let range = part * heads..(part + 1) * heads;
        CubeBackend::float_slice(sums.clone(), &[Slice::from(range)])
    });
    Parts {
        x: dx,
        dt: ddt,
        a: da,
        b: db,
        c: dc,
        d: dd,
        dt_bias: ddt_bias,
    }
}
