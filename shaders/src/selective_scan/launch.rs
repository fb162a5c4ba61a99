//! Launches the selective scan: states of the chunks, carry, apply; and the same backwards.

use burn::backend::ops::FloatTensorOps;
use burn::tensor::Slice;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

use super::{Inputs, TILE};
use crate::column_sum;
use crate::launch::{Kernel, contiguous, empty};

/// Neighbouring channels of a workgroup.
const CHANNELS: usize = 64;
/// Positions of a chunk: a workgroup holds its B and C (16 states) in 8 KiB of workgroup memory.
const CHUNK: usize = 64;
/// States that an invocation keeps in registers at a time.
const REGISTER_STATES: usize = 16;
/// Invocations a workgroup of the kernels without workgroup memory.
const FLAT: usize = 256;
/// Products of a tile: B and C at each position, one more than the channels; then their halves and two rows of 32.
const GRADIENTS_MEMORY: usize = (2 * TILE * (CHANNELS + 1) + CHANNELS + 64 + 1) * 4;

const SOFTPLUS: &str = include_str!("softplus.wgsl");
const SIGMOID: &str = include_str!("sigmoid.wgsl");
const ELEMENT: &str = include_str!("element.wgsl");

/// Sizes of a scan.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    len: usize,
    width: usize,
    state: usize,
}

impl Sizes {
    fn of(inputs: &Inputs<CubeTensor>) -> Self {
        let [batch, len, width] = dims(&inputs.u);
        let [_, state] = dims(&inputs.a);
        Self {
            batch,
            len,
            width,
            state,
        }
    }

    fn chunks(&self) -> usize {
        self.len.div_ceil(CHUNK)
    }

    fn tiles(&self) -> usize {
        self.len.div_ceil(TILE)
    }

    /// Blocks of channels.
    fn blocks(&self) -> usize {
        self.width.div_ceil(CHANNELS)
    }

    /// Registers of four states, and how often an invocation fills them.
    fn quads(&self) -> (usize, usize) {
        let slices = self.state.div_ceil(REGISTER_STATES);
        (self.state.div_ceil(slices).div_ceil(4), slices)
    }

    /// Values of A, D and the bias in the packed buffer, then of B and C.
    fn packed(&self) -> usize {
        (self.state + 2) * self.width + 2 * self.batch * self.len * self.state
    }

    /// `groups` workgroups; buffers of chunk states have `rows` rows, the sum of dt in row `sum`.
    fn info(&self, groups: usize, rows: usize, sum: usize) -> [u32; 10] {
        [
            self.batch,
            self.len,
            self.width,
            self.state,
            self.chunks(),
            groups,
            rows,
            sum,
            self.tiles(),
            self.quads().1,
        ]
        .map(|size| size as u32)
    }
}

/// A, D, the bias, B and C in one buffer, with room for `more` values behind.
fn pack(inputs: &Inputs<CubeTensor>, more: usize) -> CubeTensor {
    let sizes = Sizes::of(inputs);
    let work = empty(&inputs.u, [sizes.packed() + more]);
    Kernel::new("scan pack", include_str!("pack.wgsl"), FLAT as u32).launch(
        &[
            &inputs.a,
            &inputs.d,
            &inputs.delta_bias,
            &inputs.b,
            &inputs.c,
            &work,
        ],
        &sizes.info(0, 0, 0),
        sizes.packed().div_ceil(FLAT),
    );
    work
}

/// The two kernels that go over chunks, forwards or backwards: `ends` becomes what each chunk starts from.
struct Carry<'a> {
    sizes: Sizes,
    work: &'a CubeTensor,
    ends: &'a CubeTensor,
    rows: usize,
    sum: usize,
}

impl Carry<'_> {
    fn states(&self, kernel: Kernel, delta: &CubeTensor, x: &CubeTensor) {
        let sizes = self.sizes;
        let (quads, slices) = sizes.quads();
        let groups = sizes.batch * sizes.chunks() * sizes.blocks() * slices;
        kernel
            .set("chunk", CHUNK)
            .set("quads", quads)
            .set("staged", CHUNK * quads)
            .set("softplus", SOFTPLUS)
            .workgroup_memory(CHUNK * quads * 16)
            .launch(
                &[self.work, delta, x, self.ends],
                &sizes.info(groups, self.rows, self.sum),
                groups,
            );
    }

    fn carry(&self, kernel: Kernel, more: &[&CubeTensor]) {
        let sizes = self.sizes;
        let mut buffers = vec![self.work, self.ends];
        buffers.extend(more);
        kernel.set("info", buffers.len()).launch(
            &buffers,
            &sizes.info(0, self.rows, self.sum),
            (sizes.batch * sizes.state * sizes.width).div_ceil(FLAT),
        );
    }
}

fn states_kernel() -> Kernel {
    Kernel::new("scan states", include_str!("states.wgsl"), CHANNELS as u32).set("element", ELEMENT)
}

fn carry_kernel() -> Kernel {
    Kernel::new("scan carry", include_str!("carry.wgsl"), FLAT as u32)
}

/// `(y, last_state, saved)`; `saved` `[B, tiles, N, D]` holds the state at the start of each tile, only where asked for.
pub(super) fn forward(
    inputs: Inputs<CubeTensor>,
    save: bool,
) -> (CubeTensor, CubeTensor, Option<CubeTensor>) {
    let inputs = inputs.map(contiguous);
    let sizes = Sizes::of(&inputs);
    let Sizes {
        batch,
        len,
        width,
        state,
    } = sizes;
    let work = pack(&inputs, 0);
    let rows = state + 1;
    let ends = empty(&inputs.u, [batch, sizes.chunks(), rows, width]);
    let over = Carry {
        sizes,
        work: &work,
        ends: &ends,
        rows,
        sum: state,
    };
    let kernel = states_kernel()
        .set("what", "its last state when it starts from zero")
        .set("delta_is", "before bias and softplus")
        .set("x_is", "u")
        .set("rows", "0u")
        .set("order", "step")
        .set("dt", "softplus(delta[at] + bias)")
        .set("value", "dt * x[at]")
        .set(
            "update",
            "exp2(dt * a_@q) * h_@q + value * staged[row * QUADS + @qu]",
        );
    over.states(kernel, &inputs.delta, &inputs.u);
    let last = empty(&inputs.u, [batch, width, state]);
    let kernel = carry_kernel()
        .set("what", "from the first to the last")
        .set("forward", 1)
        .set("resumed", usize::from(inputs.initial.is_some()))
        .set("order", "step");
    let mut more = vec![&last];
    more.extend(&inputs.initial);
    over.carry(kernel, &more);

    let y = empty(&inputs.u, [batch, len, width]);
    let saved = save.then(|| empty(&inputs.u, [batch, sizes.tiles(), state, width]));
    let mut buffers = vec![&inputs.u, &inputs.delta, &work, &ends, &y];
    buffers.extend(&inputs.z);
    let saved_at = buffers.len();
    buffers.extend(&saved);
    let (quads, _) = sizes.quads();
    let groups = batch * sizes.chunks() * sizes.blocks();
    Kernel::new("scan apply", include_str!("apply.wgsl"), CHANNELS as u32)
        .set("gated", usize::from(inputs.z.is_some()))
        .set("save", usize::from(save))
        .set("saved", saved_at)
        .set("info", buffers.len())
        .set("chunk", CHUNK)
        .set("tile", TILE)
        .set("quads", quads)
        .set("staged", CHUNK * quads)
        .set("softplus", SOFTPLUS)
        .set("sigmoid", SIGMOID)
        .set("element", ELEMENT)
        // The staged states, and how many slices there are.
        .workgroup_memory(2 * CHUNK * quads * 16 + 4)
        .launch(&buffers, &sizes.info(groups, rows, state), groups);
    (y, last, saved)
}

/// Gradients of u, delta, a, b, c, d, delta_bias and, where there is one, z.
pub(super) fn backward(
    inputs: Inputs<CubeTensor>,
    saved: CubeTensor,
    dy: CubeTensor,
) -> [Option<CubeTensor>; 8] {
    let (inputs, dy) = (inputs.map(contiguous), contiguous(dy));
    let sizes = Sizes::of(&inputs);
    let Sizes {
        batch,
        len,
        width,
        state,
    } = sizes;
    let gated = usize::from(inputs.z.is_some());
    let values = batch * len * state;
    let work = pack(&inputs, sizes.blocks() * 2 * values);

    let [dt, g] = [(); 2].map(|()| empty(&dy, [batch, len, width]));
    let slope = inputs.z.as_ref().map(|_| empty(&dy, [batch, len, width]));
    let mut buffers = vec![&inputs.delta, &dy, &work, &dt, &g];
    buffers.extend(&inputs.z);
    buffers.extend(&slope);
    Kernel::new("scan gate", include_str!("gate.wgsl"), FLAT as u32)
        .set("gated", gated)
        .set("info", buffers.len())
        .set("softplus", SOFTPLUS)
        .set("sigmoid", SIGMOID)
        .launch(
            &buffers,
            &sizes.info(0, 0, 0),
            (batch * len * width).div_ceil(FLAT),
        );

    let (rows, sum) = (2 * state + 2, 2 * state);
    let adjoint = empty(&dy, [batch, sizes.chunks(), rows, width]);
    let over = Carry {
        sizes,
        work: &work,
        ends: &adjoint,
        rows,
        sum,
    };
    let kernel = states_kernel()
        .set(
            "what",
            "the adjoint that leaves it to the left when none comes in from the right",
        )
        .set("delta_is", "steps")
        .set("x_is", "gradient before the gate")
        .set("rows", "info[0] * info[1] * info[3]")
        .set("order", "CHUNK - 1u - step")
        .set("dt", "delta[at]")
        .set("value", "x[at]")
        .set(
            "update",
            "exp2(dt * a_@q) * (h_@q + value * staged[row * QUADS + @qu])",
        );
    over.states(kernel, &dt, &g);
    let kernel = carry_kernel()
        .set("what", "from the last to the first")
        .set("forward", 0)
        .set("resumed", 0)
        .set("order", "chunks - 1u - step");
    over.carry(kernel, &[]);

    let mut buffers = vec![&inputs.u, &dt, &g, &work, &saved, &adjoint];
    buffers.extend(&slope);
    let groups = batch * sizes.chunks() * sizes.blocks();
    Kernel::new(
        "scan gradients",
        include_str!("gradients.wgsl"),
        CHANNELS as u32,
    )
    .set("gated", gated)
    .set("info", buffers.len())
    .set("chunk", CHUNK)
    .set("tile", TILE)
    .set("products", 2 * TILE * (CHANNELS + 1))
    .workgroup_memory(GRADIENTS_MEMORY)
    .launch(&buffers, &sizes.info(groups, rows, sum), groups);

    let [db, dc] = [(); 2].map(|()| empty(&dy, [batch, len, state]));
    let info = [batch, len, state, sizes.blocks(), sizes.packed()].map(|size| size as u32);
    Kernel::new("scan sum", include_str!("sum.wgsl"), FLAT as u32).launch(
        &[&work, &db, &dc],
        &info,
        (2 * values).div_ceil(FLAT),
    );
    let sums = column_sum::launch(reshape(adjoint, &[batch * sizes.chunks(), rows * width]));
    let part = |first: usize, rows: usize| {
        let range = first * width..(first + rows) * width;
        CubeBackend::float_slice(sums.clone(), &[Slice::from(range)])
    };
    let da = reshape(part(state, state), &[state, width]);
    let da = CubeBackend::float_swap_dims(da, 0, 1);
    [
        Some(g),
        Some(dt),
        Some(da),
        Some(db),
        Some(dc),
        Some(part(2 * state, 1)),
        Some(part(2 * state + 1, 1)),
        slope,
    ]
}

/// `(y, state)` of one position: u `[B, D]`, b `[B, N]`, initial `[B, D, N]`.
pub(super) fn step(inputs: Inputs<CubeTensor>) -> (CubeTensor, CubeTensor) {
    let mut inputs = inputs.map(contiguous);
    let state = inputs.initial.take().expect("a step has a state");
    let [batch, width, states] = dims(&state);
    let info = [batch, width, states].map(|size| size as u32);
    // Ten tensors do not fit eight bindings: what each channel brings is worked out first.
    let prepared = empty(&inputs.u, [batch, width, 4]);
    let mut buffers = vec![
        &inputs.u,
        &inputs.delta,
        &inputs.delta_bias,
        &inputs.d,
        &prepared,
    ];
    buffers.extend(&inputs.z);
    Kernel::new(
        "scan step prepare",
        include_str!("step_prepare.wgsl"),
        CHANNELS as u32,
    )
    .set("gated", usize::from(inputs.z.is_some()))
    .set("info", buffers.len())
    .set("softplus", SOFTPLUS)
    .set("sigmoid", SIGMOID)
    .launch(&buffers, &info, (batch * width).div_ceil(CHANNELS));
    let y = empty(&inputs.u, [batch, width]);
    let next = empty(&inputs.u, [batch, width, states]);
    Kernel::new("scan step", include_str!("step.wgsl"), CHANNELS as u32).launch(
        &[
            &prepared, &inputs.a, &inputs.b, &inputs.c, &state, &next, &y,
        ],
        &info,
        (batch * width).div_ceil(CHANNELS),
    );
    (y, next)
}

fn reshape(tensor: CubeTensor, shape: &[usize]) -> CubeTensor {
    CubeBackend::float_reshape(tensor, burn::tensor::Shape::from(shape.to_vec()))
}

fn dims<const D: usize>(tensor: &CubeTensor) -> [usize; D] {
    std::array::from_fn(|dimension| tensor.meta.shape()[dimension])
}
