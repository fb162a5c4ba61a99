//! The causal convolution on the GPU.

use burn::backend::ops::FloatTensorOps;
use burn::tensor::Slice;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::Saved;
use crate::column_sum;
use crate::launch::{Kernel, contiguous, empty};

const FORWARD: &str = concat!(
    include_str!("forward.wgsl"),
    include_str!("chunk.wgsl"),
    include_str!("silu.wgsl")
);
const BACKWARD: &str = concat!(
    include_str!("backward.wgsl"),
    include_str!("chunk.wgsl"),
    include_str!("silu.wgsl")
);
const STEP: &str = concat!(include_str!("step.wgsl"), include_str!("silu.wgsl"));

/// Channels of a workgroup.
const THREADS: u32 = 64;
/// Positions that one invocation walks through. Each reads `width - 1` more than it writes.
const CHUNK: usize = 16;
/// The same where the sequence is long enough to fill a device with these: fewer partial sums in the backward pass.
const LONG_CHUNK: usize = 64;
/// Invocations that fill a device.
const FULL: usize = 64 * 1024;

fn dims(x: &CubeTensor) -> [usize; 3] {
    let shape = x.meta.shape();
    [shape[0], shape[1], shape[2]]
}

/// A kernel for filters of `width`, without its state.
fn kernel(name: &'static str, source: &'static str, width: usize, silu: bool) -> Kernel {
    Kernel::new(name, source, THREADS)
        .set("width", width)
        .set("past", width - 1)
        .set("activation", if silu { "silu(sum)" } else { "sum" })
        .set("slope", if silu { "silu_slope(sum)" } else { "1.0" })
}

/// The kernel of a pass with the bindings `fixed`, then bias, and the state where there is one.
fn launch_pass<'a>(
    name: &'static str,
    source: &'static str,
    input: &'a Saved<CubeTensor>,
    mut buffers: Vec<&'a CubeTensor>,
    info: &[u32],
    groups: usize,
) {
    let width = input.weight.meta.shape()[1];
    let kernel = kernel(name, source, width, input.silu);
    let at = buffers.len();
    let kernel = match &input.state {
        Some(state) => {
            buffers.push(state);
            kernel
                .set(
                    "state_binding",
                    format!("@group(0) @binding({at}) var<storage, read_write> state: array<f32>; // (batch, channels, width - 1)"),
                )
                .set(
                    "state",
                    format!("state[(sample * info[2] + channel) * {}u + at]", width - 1),
                )
        }
        None => kernel.set("state_binding", "").set("state", "0.0"),
    };
    kernel
        .set("info_binding", buffers.len())
        .launch(&buffers, info, groups);
}

fn contiguous_all(saved: Saved<CubeTensor>) -> Saved<CubeTensor> {
    Saved {
        x: contiguous(saved.x),
        weight: contiguous(saved.weight),
        bias: contiguous(saved.bias),
        state: saved.state.map(contiguous),
        silu: saved.silu,
    }
}

/// y `[B, L, D]`.
pub(super) fn forward(input: Saved<CubeTensor>) -> CubeTensor {
    let input = contiguous_all(input);
    let [batch, len, channels] = dims(&input.x);
    let y = empty(&input.x, [batch, len, channels]);
    launch_pass(
        "causal conv1d forward",
        FORWARD,
        &input,
        vec![&input.x, &input.weight, &input.bias, &y],
        &[batch as u32, len as u32, channels as u32, CHUNK as u32],
        batch * len.div_ceil(CHUNK) * channels.div_ceil(THREADS as usize),
    );
    y
}

/// `[dx, dweight, dbias]`.
pub(super) fn backward(saved: Saved<CubeTensor>, dy: CubeTensor) -> [CubeTensor; 3] {
    let (saved, dy) = (contiguous_all(saved), contiguous(dy));
    let [batch, len, channels] = dims(&saved.x);
    let width = saved.weight.meta.shape()[1];
    let chunk = if batch * (len / LONG_CHUNK) * channels >= FULL {
        LONG_CHUNK
    } else {
        CHUNK
    };
    let blocks = batch * len.div_ceil(chunk);
    let dx = empty(&saved.x, [batch, len, channels]);
    let partial = empty(&saved.x, [blocks, (width + 1) * channels]);
    launch_pass(
        "causal conv1d backward",
        BACKWARD,
        &saved,
        vec![&saved.x, &saved.weight, &saved.bias, &dy, &dx, &partial],
        &[batch as u32, len as u32, channels as u32, chunk as u32],
        blocks * channels.div_ceil(THREADS as usize),
    );
    let sums = column_sum::launch(partial);
    let part = |range: std::ops::Range<usize>| {
        CubeBackend::float_slice(sums.clone(), &[Slice::from(range)])
    };
    let dweight = CubeBackend::float_reshape(part(0..width * channels), [width, channels].into());
    let dweight = CubeBackend::float_swap_dims(dweight, 0, 1);
    let dbias = part(width * channels..(width + 1) * channels);
    [dx, dweight, dbias]
}

/// `(y, next state)` of one position: x `[B, D]`, the state not empty.
pub(super) fn step(
    x: CubeTensor,
    weight: CubeTensor,
    bias: CubeTensor,
    state: CubeTensor,
    silu: bool,
) -> (CubeTensor, CubeTensor) {
    let [x, weight, bias, state] = [x, weight, bias, state].map(contiguous);
    let y = empty(&x, x.meta.shape().clone());
    let next = empty(&x, state.meta.shape().clone());
    let (values, channels) = (x.meta.shape().num_elements(), x.meta.shape()[1]);
    let width = weight.meta.shape()[1];
    kernel("causal conv1d step", STEP, width, silu).launch(
        &[&x, &weight, &bias, &state, &y, &next],
        &[values as u32, channels as u32],
        values.div_ceil(THREADS as usize),
    );
    (y, next)
}
