//! The causal depthwise convolution in front of Mamba's scans (Gu & Dao 2023, arXiv 2312.00752, section 3.4), with its bias and
//! silu, for a sequence and for one position.

mod case;
mod cpu;
mod launch;
pub mod reference;
mod step;
#[cfg(test)]
mod tests;

pub(crate) use case::check_case;
pub use step::{ConvStepOps, causal_conv1d_step};

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_cubecl::CubeBackend;

/// The widest filter that the kernels hold in registers.
pub const MAX_WIDTH: usize = 8;

/// What [`causal_conv1d`] gives.
#[derive(Debug, Clone)]
pub struct ConvOutput {
    /// `[B, L, D]`.
    pub y: Tensor<3>,
    /// `[B, D, W - 1]`: the last W - 1 inputs, those of the initial state or zeros in front where L is shorter. No gradient
    /// flows through it.
    pub state: Tensor<3>,
}

/// `y[t] = bias + Σ_j weight[j] x[t - (W - 1) + j]` for each channel, and silu of that with `silu`.
///
/// `x` is `[B, L, D]`, `weight` `[D, W]`, `bias` `[D]`, `initial_state` `[B, D, W - 1]`, the inputs before the first (zeros where
/// none is given; no gradient flows into it). Padding counts as input: at the right it changes no real position, but the state.
///
/// The kernels run through chunks of a channel side by side. For the backward pass the graph keeps `x` and nothing else of
/// that size; the gradients of weight and bias pass through B · ⌈L / C⌉ · (W + 1) · D values, C 16 or 64 positions. Tensors
/// that are not of f32, and filters wider than [`MAX_WIDTH`], take [the plain form](mod@reference).
///
/// # Panics
/// When the shapes disagree or W is 0.
pub fn causal_conv1d(
    x: Tensor<3>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    initial_state: Option<Tensor<3>>,
    silu: bool,
) -> ConvOutput {
    let [batch, _, channels] = x.dims();
    let width = weight.dims()[1];
    let (bias_dims, state_dims) = (
        bias.as_ref().map(|bias| bias.dims()),
        initial_state.as_ref().map(|state| state.dims()),
    );
    assert!(
        weight.dims()[0] == channels
            && width > 0
            && bias_dims.is_none_or(|dims| dims == [channels])
            && state_dims.is_none_or(|dims| dims == [batch, channels, width - 1]),
        "causal_conv1d: x is [B, L, D] = {:?}, so weight must be [D, W], bias [D], initial state [B, D, W - 1]; \
         found {:?}, {bias_dims:?}, {state_dims:?}",
        x.dims(),
        weight.dims(),
    );
    let initial_state = initial_state.map(Tensor::detach);
    let state = last_inputs(x.clone().detach(), initial_state.clone(), width - 1);
    let f32 = x.dtype() == DType::F32
        && weight.dtype() == DType::F32
        && bias.as_ref().is_none_or(|bias| bias.dtype() == DType::F32)
        && initial_state
            .as_ref()
            .is_none_or(|state| state.dtype() == DType::F32);
    if !f32 || width > MAX_WIDTH || x.dims().contains(&0) {
        let y = reference::causal_conv1d(x, weight, bias, initial_state, silu);
        return ConvOutput { y, state };
    }
    // Both of Mamba's convolutions have a bias: one kernel form less for the price of a fill where there is none.
    let bias = bias.unwrap_or_else(|| Tensor::zeros([channels], (&x.device(), DType::F32)));
    let (x, weight, bias) = (
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    );
    // A filter of width 1 looks at nothing before the first.
    let y = Tensor::from_dispatch(match initial_state.filter(|_| width > 1) {
        Some(state) => {
            Dispatch::fused_causal_conv1d_after(x, weight, bias, state.into_dispatch(), silu)
        }
        None => Dispatch::fused_causal_conv1d(x, weight, bias, silu),
    });
    ConvOutput { y, state }
}

/// The last `past` inputs `[B, D, past]` of `x` `[B, L, D]` behind `initial`.
fn last_inputs(x: Tensor<3>, initial: Option<Tensor<3>>, past: usize) -> Tensor<3> {
    let [batch, len, channels] = x.dims();
    let (device, dtype) = (x.device(), x.dtype());
    let kept = past.min(len);
    if past == 0 {
        return Tensor::zeros([batch, channels, 0], (&device, dtype));
    }
    let before = past - kept;
    let front = || match initial {
        Some(state) => state.narrow(2, kept, before),
        None => Tensor::zeros([batch, channels, before], (&device, dtype)),
    };
    if kept == 0 {
        return front();
    }
    let tail = x.narrow(1, len - kept, kept).swap_dims(1, 2);
    if before == 0 {
        return tail;
    }
    Tensor::cat(vec![front(), tail], 2)
}

/// The convolution as an operation of the dispatching backend; called through [`causal_conv1d`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait ConvOps: Backend {
    /// `x` `[B, L, D]`, `weight` `[D, W]`, `bias` `[D]`; y `[B, L, D]`.
    fn fused_causal_conv1d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        silu: bool,
    ) -> FloatTensor<Self>;

    /// The same behind the inputs `state` `[B, D, W - 1]`, which get no gradient.
    fn fused_causal_conv1d_after(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        state: FloatTensor<Self>,
        silu: bool,
    ) -> FloatTensor<Self>;
}

/// The arguments of the convolution, which the backward pass needs too.
#[derive(Debug, Clone)]
pub struct Saved<T> {
    x: T,
    weight: T,
    bias: T,
    state: Option<T>,
    silu: bool,
}

/// Both passes, on the backends that execute.
pub trait ConvPasses: Backend {
    /// y.
    fn causal_conv1d_forward(input: Saved<FloatTensor<Self>>) -> FloatTensor<Self>;

    /// `[dx, dweight, dbias]`.
    fn causal_conv1d_backward(
        saved: Saved<FloatTensor<Self>>,
        dy: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3];
}

/// [`ConvOps`] by a function of [`Saved`].
macro_rules! operation {
    (impl $(<$($parameter:ident: $bound:path),*>)? ConvOps for $backend:ty, |$input:ident| $run:expr) => {
        impl $(<$($parameter: $bound),*>)? ConvOps for $backend {
            fn fused_causal_conv1d(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                silu: bool,
            ) -> FloatTensor<Self> {
                let $input = Saved { x, weight, bias, state: None, silu };
                $run
            }

            fn fused_causal_conv1d_after(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                state: FloatTensor<Self>,
                silu: bool,
            ) -> FloatTensor<Self> {
                let $input = Saved { x, weight, bias, state: Some(state), silu };
                $run
            }
        }
    };
}

macro_rules! passes {
    ($backend:ty, $module:ident) => {
        impl ConvPasses for $backend {
            fn causal_conv1d_forward(input: Saved<FloatTensor<Self>>) -> FloatTensor<Self> {
                $module::forward(input)
            }

            fn causal_conv1d_backward(
                saved: Saved<FloatTensor<Self>>,
                dy: FloatTensor<Self>,
            ) -> [FloatTensor<Self>; 3] {
                $module::backward(saved, dy)
            }
        }

        operation!(impl ConvOps for $backend, |input| <$backend>::causal_conv1d_forward(input));
    };
}

passes!(CubeBackend, launch);
passes!(Flex, cpu);
operation!(impl<B: ConvPasses, C: CheckpointStrategy> ConvOps for Autodiff<B, C>, |input| tracked::<B, C>(input));

#[derive(Debug)]
struct ConvStep;

impl<B: ConvPasses> Backward<B, 3> for ConvStep {
    type State = Saved<B::FloatTensorPrimitive>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let gradients = B::causal_conv1d_backward(ops.state, dy);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// The forward pass with its place in the graph.
fn tracked<B: ConvPasses, C: CheckpointStrategy>(
    input: Saved<FloatTensor<Autodiff<B, C>>>,
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = [input.x.node(), input.weight.node(), input.bias.node()];
    let saved = Saved {
        x: input.x.into_primitive(),
        weight: input.weight.into_primitive(),
        bias: input.bias.into_primitive(),
        state: input.state.map(|state| state.into_primitive()),
        silu: input.silu,
    };
    match ConvStep.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let y = B::causal_conv1d_forward(saved.clone());
            prep.finish(saved, y)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::causal_conv1d_forward(saved)),
    }
}
