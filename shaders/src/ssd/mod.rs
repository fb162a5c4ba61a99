//! The state space dual form of Mamba-2 (Dao & Gu 2024, arXiv 2405.21060, section 6): a scan with one decay a head and
//! position, computed in chunks of [`CHUNK`] positions by matrix products, and its step for one position.

pub(crate) mod case;
mod cpu;
mod launch;
mod products;
pub mod reference;
mod step;
#[cfg(test)]
mod tests;

use burn::backend::AutodiffBackend;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_cubecl::CubeBackend;

pub use step::ssd_step;

/// Positions of a chunk: what lies inside is computed by products, what lies before comes through one state.
pub const CHUNK: usize = 64;
/// Decays below e^−90 count as e^−90, which f32 hardly tells from 0, so that sums of exponents keep their low digits.
const LEAST_EXPONENT: f32 = -90.0;
/// Exponents are summed in multiples of 1/16, which is exact, and their small rests apart: differences of sums over a chunk
/// stay good to 1e-7 however large the sums are.
const EXPONENT_STEPS: f32 = 16.0;

/// What [`ssd`] takes. Sizes: B batch, L length, H heads, P head width, G groups (H a multiple of G), N state width.
#[derive(Debug, Clone)]
pub struct SsdInput {
    /// Inputs, `[B, L, H, P]`.
    pub x: Tensor<4>,
    /// Step sizes before bias and softplus, `[B, L, H]`.
    pub dt: Tensor<3>,
    /// Decay rate of each head, `[H]`, not above 0.
    pub a: Tensor<1>,
    /// Input projections, `[B, L, G, N]`; head h takes group h / (H / G).
    pub b: Tensor<4>,
    /// Output projections, `[B, L, G, N]`.
    pub c: Tensor<4>,
    /// Skip weight of each head, `[H]`.
    pub d: Tensor<1>,
    /// Added to `dt`, `[H]`.
    pub dt_bias: Tensor<1>,
    /// State before the first position, `[B, H, P, N]`; zeros when absent. No gradient flows to it.
    pub initial_state: Option<Tensor<4>>,
}

/// What [`ssd`] gives.
#[derive(Debug, Clone)]
pub struct SsdOutput {
    /// Outputs, `[B, L, H, P]`.
    pub y: Tensor<4>,
    /// State after the last position, `[B, H, P, N]`. No gradient flows through it.
    pub final_state: Tensor<4>,
}

/// h_t = exp(δ_t a) h_{t−1} + δ_t x_t b_tᵀ, y_t = h_t c_t + d x_t with δ = softplus(dt + dt_bias), for each head.
///
/// Time grows with L. Beside inputs and outputs, the forward pass holds and keeps for the backward pass
/// ⌈L/64⌉ · B · H · P · N values, the states before each chunk, and on a GPU holds 64 · B · L · G for the products of B and C inside the
/// chunks and 6 · B · L · H for steps and decays; the backward pass holds as many states again and 64 · B · L · (H + G) values for the
/// products inside the chunks, and the latter. Tensors that are not of f32 take [`reference::ssd`].
///
/// # Panics
/// When the shapes do not fit. A GPU takes as many samples at a time as WebGPU's default binding of 128 MiB holds; one sample that is
/// too long for what the device binds panics too, and the message names the kernel.
pub fn ssd(input: SsdInput) -> SsdOutput {
    check(&input);
    let SsdInput {
        x,
        dt,
        a,
        b,
        c,
        d,
        dt_bias,
        initial_state,
    } = &input;
    let types = [x.dtype(), dt.dtype(), a.dtype(), b.dtype(), c.dtype()];
    let f32 = types == [DType::F32; 5]
        && [d.dtype(), dt_bias.dtype()] == [DType::F32; 2]
        && initial_state
            .as_ref()
            .is_none_or(|state| state.dtype() == DType::F32);
    if !f32 || x.dims().contains(&0) || b.dims().contains(&0) {
        return reference::ssd(input);
    }
    let given = input.initial_state.is_some();
    let device = x.device();
    // The dispatch takes no optional tensors: this one stands in, and is not looked at.
    let state = input
        .initial_state
        .unwrap_or_else(|| Tensor::zeros([1; 4], (&device, DType::F32)));
    let (y, final_state) = Dispatch::fused_ssd(
        input.x.into_dispatch(),
        input.dt.into_dispatch(),
        input.a.into_dispatch(),
        input.b.into_dispatch(),
        input.c.into_dispatch(),
        input.d.into_dispatch(),
        input.dt_bias.into_dispatch(),
        state.into_dispatch(),
        given,
    );
    SsdOutput {
        y: Tensor::from_dispatch(y),
        final_state: Tensor::from_dispatch(final_state),
    }
}

fn check(input: &SsdInput) {
    let [batch, len, heads, width] = input.x.dims();
    let [_, _, groups, state] = input.b.dims();
    let shapes: [(&str, Vec<usize>, Vec<usize>); 7] = [
        ("dt", input.dt.dims().into(), vec![batch, len, heads]),
        ("a", input.a.dims().into(), vec![heads]),
        ("b", input.b.dims().into(), vec![batch, len, groups, state]),
        ("c", input.c.dims().into(), vec![batch, len, groups, state]),
        ("d", input.d.dims().into(), vec![heads]),
        ("dt_bias", input.dt_bias.dims().into(), vec![heads]),
        (
            "initial_state",
            input
                .initial_state
                .as_ref()
                .map_or(vec![batch, heads, width, state], |state| {
                    state.dims().into()
                }),
            vec![batch, heads, width, state],
        ),
    ];
    for (name, found, expected) in shapes {
        assert!(
            found == expected,
            "ssd: x is {:?} and b has {groups} groups, so {name} must be {expected:?}; found {found:?}",
            input.x.dims()
        );
    }
    assert!(
        groups > 0 && heads.is_multiple_of(groups),
        "ssd: {heads} heads cannot share {groups} groups"
    );
}

/// The tensors of [`SsdInput`] that have gradients; also those gradients.
#[derive(Debug, Clone)]
pub struct Parts<T> {
    /// `[B, L, H, P]`
    pub x: T,
    /// `[B, L, H]`
    pub dt: T,
    /// `[H]`
    pub a: T,
    /// `[B, L, G, N]`
    pub b: T,
    /// `[B, L, G, N]`
    pub c: T,
    /// `[H]`
    pub d: T,
    /// `[H]`
    pub dt_bias: T,
}

impl<T> Parts<T> {
    fn map<U>(self, f: impl Fn(T) -> U) -> Parts<U> {
        Parts {
            x: f(self.x),
            dt: f(self.dt),
            a: f(self.a),
            b: f(self.b),
            c: f(self.c),
            d: f(self.d),
            dt_bias: f(self.dt_bias),
        }
    }

    fn into_array(self) -> [T; 7] {
        [
            self.x,
            self.dt,
            self.a,
            self.b,
            self.c,
            self.d,
            self.dt_bias,
        ]
    }
}

/// Sizes of a scan.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    len: usize,
    heads: usize,
    width: usize,
    groups: usize,
    state: usize,
    /// Whether a state comes in before the first position.
    given: bool,
}

impl Sizes {
    fn of<T: burn::backend::TensorMetadata>(parts: &Parts<T>, given: bool) -> Self {
        let (x, b) = (parts.x.shape(), parts.b.shape());
        Self {
            batch: x[0],
            len: x[1],
            heads: x[2],
            width: x[3],
            groups: b[2],
            state: b[3],
            given,
        }
    }

    fn chunks(self) -> usize {
        self.len.div_ceil(CHUNK)
    }

    /// Heads that share a group.
    fn sharing(self) -> usize {
        self.heads / self.groups
    }
}

/// The scan as an operation of the dispatching backend; called through [`ssd`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait SsdOps: Backend {
    /// `(y, final_state)`; shapes as in [`SsdInput`]. Unless `given`, the initial state is of zeros, and the tensor not looked at.
    #[allow(clippy::too_many_arguments)] // The macro takes tensors one by one.
    fn fused_ssd(
        x: FloatTensor<Self>,
        dt: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        dt_bias: FloatTensor<Self>,
        initial_state: FloatTensor<Self>,
        given: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// What the forward pass gives: y, the state after the last position and, when kept, the states `[.., chunks, H, P, N]` before
/// each chunk, in as many tensors of one or more samples as the device needs.
pub type Forward<T> = (T, T, Vec<T>);

/// Both passes, on the backends that execute.
pub trait SsdPasses: SsdOps {
    /// With the states before each chunk when `keep` says so. Unless `given`, the initial state is of zeros.
    fn ssd_forward(
        parts: Parts<FloatTensor<Self>>,
        initial_state: FloatTensor<Self>,
        given: bool,
        keep: bool,
    ) -> Forward<FloatTensor<Self>>;

    /// The gradients of `parts` from that of y; `states` as [`SsdPasses::ssd_forward`] kept them, `given` as it was told.
    fn ssd_backward(
        parts: Parts<FloatTensor<Self>>,
        states: Vec<FloatTensor<Self>>,
        given: bool,
        dy: FloatTensor<Self>,
    ) -> Parts<FloatTensor<Self>>;
}

macro_rules! passes {
    ($backend:ty, $module:ident) => {
        impl SsdOps for $backend {
            fn fused_ssd(
                x: FloatTensor<Self>,
                dt: FloatTensor<Self>,
                a: FloatTensor<Self>,
                b: FloatTensor<Self>,
                c: FloatTensor<Self>,
                d: FloatTensor<Self>,
                dt_bias: FloatTensor<Self>,
                initial_state: FloatTensor<Self>,
                given: bool,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                let parts = Parts {
                    x,
                    dt,
                    a,
                    b,
                    c,
                    d,
                    dt_bias,
                };
                let (y, state, _) = $module::forward(parts, initial_state, given, false);
                (y, state)
            }
        }

        impl SsdPasses for $backend {
            fn ssd_forward(
                parts: Parts<FloatTensor<Self>>,
                initial_state: FloatTensor<Self>,
                given: bool,
                keep: bool,
            ) -> Forward<FloatTensor<Self>> {
                $module::forward(parts, initial_state, given, keep)
            }

            fn ssd_backward(
                parts: Parts<FloatTensor<Self>>,
                states: Vec<FloatTensor<Self>>,
                given: bool,
                dy: FloatTensor<Self>,
            ) -> Parts<FloatTensor<Self>> {
                $module::backward(parts, states, given, dy)
            }
        }
    };
}

passes!(CubeBackend, launch);
passes!(Flex, cpu);

#[derive(Debug)]
struct SsdStep;

impl<B: SsdPasses> Backward<B, 7> for SsdStep {
    /// The inputs, the states before each chunk, and whether one was given before the first.
    type State = (
        Parts<B::FloatTensorPrimitive>,
        Vec<B::FloatTensorPrimitive>,
        bool,
    );

    fn backward(
        self,
        ops: Ops<Self::State, 7>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let nodes = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let (parts, states, given) = ops.state;
        let gradients = B::ssd_backward(parts, states, given, dy).into_array();
        for (node, gradient) in nodes.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: SsdPasses, C: CheckpointStrategy> SsdOps for Autodiff<B, C> {
    fn fused_ssd(
        x: FloatTensor<Self>,
        dt: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        dt_bias: FloatTensor<Self>,
        initial_state: FloatTensor<Self>,
        given: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let parts = Parts {
            x,
            dt,
            a,
            b,
            c,
            d,
            dt_bias,
        };
        let nodes = [
            parts.x.node(),
            parts.dt.node(),
            parts.a.node(),
            parts.b.node(),
            parts.c.node(),
            parts.d.node(),
            parts.dt_bias.node(),
        ];
        let parts = parts.map(|tensor| tensor.into_primitive());
        let initial_state = initial_state.into_primitive();
        let (y, state) = match SsdStep.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (y, state, states) = B::ssd_forward(parts.clone(), initial_state, given, true);
                (prep.finish((parts, states, given), y), state)
            }
            OpsKind::UnTracked(prep) => {
                let (y, state, _) = B::ssd_forward(parts, initial_state, given, false);
                (prep.finish(y), state)
            }
        };
        (y, <Self as AutodiffBackend>::from_inner(state))
    }
}
