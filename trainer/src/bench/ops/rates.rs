//! What the device itself reaches: bandwidth of a copy and rate of a matrix product, for the figures of operators to be held against.
//! The copy is of buffers that no cache holds, or of the largest that the device binds: an operator whose tensors fit a cache may come
//! out above it.

use super::measure::{Clock, fill};
use anyhow::Result;
use burn::tensor::{Device, Tensor};
use caldera_shaders::launch::max_binding;
use caldera_shaders::{is_gpu, linear};
use serde::Serialize;
use std::time::Instant;

/// Bytes and operations a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Bytes read and written by a copy, in GB/s.
    pub copy_gb_s: f64,
    /// The better of Burn's matrix product and our linear layer, in GFLOP/s.
    pub matmul_gflop_s: f64,
}

const RUNS: usize = 9;

impl Rates {
    /// Measures both; `quick` on sizes that take milliseconds.
    ///
    /// # Errors
    /// When the device fails.
    pub fn measure(device: &Device, quick: bool) -> Result<Self> {
        // A GPU's second cache holds up to 96 MiB: 256 MiB and as much again, where it binds so many.
        let values = max_binding(device).map_or(1 << 24, |bytes| (bytes as usize / 4).min(1 << 26));
        Ok(Self {
            copy_gb_s: copy(device, if quick { 1 << 20 } else { values })?,
            matmul_gflop_s: matmul(device, if quick { 128 } else { 1024 })?,
        })
    }
}

/// Fastest of several: what other programs take of the machine only adds.
fn best(mut time: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..RUNS {
        least = least.min(time()?);
    }
    Ok(least)
}

fn copy(device: &Device, values: usize) -> Result<f64> {
    let bytes = 8.0 * values as f64;
    let ms = if is_gpu(device) {
        let x: Tensor<1> = fill(values, (-1.0, 1.0), 1, device);
        // Burn copies nothing that it need not: an addition reads and writes as much as a copy.
        let clock = Clock::new(device, || Ok(x.clone().add_scalar(1.0)))?;
        best(|| clock.forward(|| Ok(x.clone().add_scalar(1.0))))?
    } else {
        copy_on_all_cores(values)?
    };
    Ok(bytes / ms / 1e6)
}

/// Milliseconds of a copy of `values` f32, cut over the cores.
fn copy_on_all_cores(values: usize) -> Result<f64> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (from, mut to) = (vec![1f32; values], vec![0f32; values]);
    let part = values.div_ceil(cores);
    best(|| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for (from, to) in from.chunks(part).zip(to.chunks_mut(part)) {
                scope.spawn(|| to.copy_from_slice(from));
            }
        });
        std::hint::black_box(&to);
        Ok(start.elapsed().as_secs_f64() * 1e3)
    })
}

fn matmul(device: &Device, side: usize) -> Result<f64> {
    let [a, b] =
        [1, 2].map(|seed| fill(side * side, (-1.0, 1.0), seed, device).reshape([side, side]));
    let row = |c: Tensor<2>| c.reshape([side * side]);
    let burn = || Ok(row(a.clone().matmul(b.clone())));
    let ours = || Ok(row(linear(a.clone(), b.clone(), None)));
    let clock = Clock::new(device, burn)?;
    let burn = best(|| clock.forward(burn))?;
    let clock = Clock::new(device, ours)?;
    let ours = best(|| clock.forward(ours))?;
    Ok(2.0 * (side as f64).powi(3) / burn.min(ours) / 1e6)
}
