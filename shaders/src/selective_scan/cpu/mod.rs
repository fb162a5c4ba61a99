//! The selective scan on the CPU: samples and blocks of channels over the cores, one position after the other, sixteen
//! neighbouring channels at once.

mod backward;
mod forward;

use burn_flex::FlexTensor;

use super::{Inputs, TILE};
use crate::cpu::{exp_negative, multiply_add};

pub(super) use backward::backward;
pub(super) use forward::{forward, step};

/// Channels that are worked on at once.
const LANES: usize = 16;
/// Below this many states over all positions one core is faster than waking the others.
const PARALLEL_STATES: usize = 16 * 1024;

/// One value of each of a block's channels.
pub(crate) type Lanes = [f32; LANES];

/// Sizes of a scan.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    len: usize,
    width: usize,
    state: usize,
}

impl Sizes {
    fn of(inputs: &Inputs<FlexTensor>) -> Self {
        let u = inputs.u.layout().shape();
        Self {
            batch: u[0],
            // A step has no positions.
            len: if u.num_dims() == 3 { u[1] } else { 1 },
            width: u[u.num_dims() - 1],
            state: inputs.a.layout().shape()[1],
        }
    }

    fn parallel(&self) -> bool {
        self.batch * self.len * self.width * self.state > PARALLEL_STATES
    }
}

/// The values of the tensors of a scan.
pub(crate) struct Values<'a> {
    sizes: Sizes,
    u: &'a [f32],
    delta: &'a [f32],
    a: &'a [f32],
    b: &'a [f32],
    c: &'a [f32],
    d: &'a [f32],
    delta_bias: &'a [f32],
    z: Option<&'a [f32]>,
    initial: Option<&'a [f32]>,
}

impl<'a> Values<'a> {
    /// `inputs` must be contiguous.
    fn of(inputs: &'a Inputs<FlexTensor>) -> Self {
        Self {
            sizes: Sizes::of(inputs),
            u: inputs.u.storage(),
            delta: inputs.delta.storage(),
            a: inputs.a.storage(),
            b: inputs.b.storage(),
            c: inputs.c.storage(),
            d: inputs.d.storage(),
            delta_bias: inputs.delta_bias.storage(),
            z: inputs.z.as_ref().map(|z| z.storage()),
            initial: inputs.initial.as_ref().map(|initial| initial.storage()),
        }
    }
}

/// `count` neighbouring values, zeros behind.
#[inline(always)]
fn load(values: &[f32], at: usize, count: usize) -> Lanes {
    let mut lanes = [0.0; LANES];
    if count == LANES {
        lanes.copy_from_slice(&values[at..at + LANES]);
    } else {
        lanes[..count].copy_from_slice(&values[at..at + count]);
    }
    lanes
}

/// `count` neighbouring values of each of `rows` rows of `width`, from `at` on. In one go: rows lie in pages of their own,
/// and loads that wait for memory should wait together.
#[inline(always)]
fn load_rows(
    tile: &mut [Lanes; TILE],
    values: &[f32],
    at: usize,
    [rows, count, width]: [usize; 3],
) {
    for (row, lanes) in tile[..rows].iter_mut().enumerate() {
        *lanes = load(values, at + row * width, count);
    }
}

/// Writes the first `row.len()` values, a block's channels or fewer.
#[inline(always)]
fn store(row: &mut [f32], lanes: &Lanes) {
    if row.len() == LANES {
        row.copy_from_slice(lanes);
    } else {
        row.copy_from_slice(&lanes[..row.len()]);
    }
}

/// Column n of rows of `state` values from the row `first` on: one value a channel.
#[inline(always)]
fn gather(values: &[f32], first: usize, count: usize, state: usize, n: usize) -> Lanes {
    let mut lanes = [0.0; LANES];
    for (l, lane) in lanes.iter_mut().enumerate().take(count) {
        *lane = values[(first + l) * state + n];
    }
    lanes
}

/// 2^y for y ≤ 0 or little above, relative error about 2e-7; flushes to about 1e-38 below −125.
#[inline(always)]
fn exp2_negative<const FMA: bool>(y: f32) -> f32 {
    // Adding it rounds to an integer that then lies in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // A comparison, not `max`: NaN must pass through.
    let y = if y < -125.0 { -125.0 } else { y };
    let shifted = y + ROUND;
    let r = y - (shifted - ROUND);
    // Of Cephes' exp2f (Moshier), on [-1/2, 1/2].
    let mut p = 1.535_336_2e-4;
    p = multiply_add::<FMA>(p, r, 1.339_887_4e-3);
    p = multiply_add::<FMA>(p, r, 9.618_437e-3);
    p = multiply_add::<FMA>(p, r, 5.550_332_5e-2);
    p = multiply_add::<FMA>(p, r, 2.402_264_8e-1);
    p = multiply_add::<FMA>(p, r, 6.931_472e-1);
    p = multiply_add::<FMA>(p, r, 1.0);
    // Into the exponent.
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// log(1 + e^x), to full precision for any x: log(1 + e) = 2 artanh(e / (2 + e)) as a series, e at most 1.
#[inline(always)]
fn softplus<const FMA: bool>(x: f32) -> f32 {
    let e = exp_negative::<FMA>(-x.abs());
    let s = e / (2.0 + e);
    let q = s * s;
    let mut series = multiply_add::<FMA>(q, 1.0 / 13.0, 1.0 / 11.0);
    series = multiply_add::<FMA>(q, series, 1.0 / 9.0);
    series = multiply_add::<FMA>(q, series, 1.0 / 7.0);
    series = multiply_add::<FMA>(q, series, 1.0 / 5.0);
    series = multiply_add::<FMA>(q, series, 1.0 / 3.0);
    let positive = if x < 0.0 { 0.0 } else { x };
    multiply_add::<FMA>(2.0, multiply_add::<FMA>(s * q, series, s), positive)
}

/// 1 / (1 + e^−x) without an overflow.
#[inline(always)]
fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    let e = exp_negative::<FMA>(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f32, want: f64) {
        let error = (f64::from(got) - want).abs();
        assert!(error <= 5e-7 * want.abs() + 1e-37, "{got:e}, not {want:e}");
    }

    #[test]
    fn functions_are_precise_over_their_whole_range() {
        for i in -4000..=4000 {
            let x = i as f32 * 0.025;
            let exact = f64::from(x);
            close(
                softplus::<false>(x),
                exact.max(0.0) + (-exact.abs()).exp().ln_1p(),
            );
            close(sigmoid::<false>(x), 1.0 / (1.0 + (-exact).exp()));
            if x <= 1.0 {
                close(exp2_negative::<false>(x), exact.exp2());
            }
        }
    }

    #[test]
    fn functions_stay_finite_far_out() {
        assert_eq!(softplus::<false>(1e30), 1e30);
        assert!(softplus::<false>(-1e30) < 1e-37);
        assert_eq!(sigmoid::<false>(1e30), 1.0);
        assert!(sigmoid::<false>(-1e30) < 1e-37);
        assert!(exp2_negative::<false>(f32::NEG_INFINITY) < 1e-37);
        assert!(exp2_negative::<false>(f32::NAN).is_nan());
    }
}
