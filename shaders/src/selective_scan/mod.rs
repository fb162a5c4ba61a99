//! The selective scan of Mamba (Gu & Dao 2023, arXiv 2312.00752, section 3), parallel along the sequence, and its step
//! for decoding.

mod case;
mod cpu;
mod launch;
pub mod reference;
mod step;
#[cfg(test)]
mod tests;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_cubecl::CubeBackend;

pub(crate) use case::check_case;
pub use step::{ScanStepInput, ScanStepOps, selective_scan_step};

/// Positions between two states that are kept for the backward pass.
const TILE: usize = 16;

/// What [`selective_scan`] takes.
#[derive(Debug, Clone)]
pub struct ScanInput {
    /// Values, `[B, L, D]`.
    pub u: Tensor<3>,
    /// Steps before bias and softplus, `[B, L, D]`.
    pub delta: Tensor<3>,
    /// Rates of decay, `[D, N]`, all negative (not their logarithms).
    pub a: Tensor<2>,
    /// What enters the states, `[B, L, N]`.
    pub b: Tensor<3>,
    /// How the states are read, `[B, L, N]`.
    pub c: Tensor<3>,
    /// Weight of the way past the states, `[D]`.
    pub d: Tensor<1>,
    /// Gate, `[B, L, D]`.
    pub z: Option<Tensor<3>>,
    /// Added to `delta`, `[D]`.
    pub delta_bias: Tensor<1>,
    /// State before the first position, `[B, D, N]`; zeros when absent. No gradient flows into it.
    pub initial_state: Option<Tensor<3>>,
}

/// What [`selective_scan`] gives.
#[derive(Debug, Clone)]
pub struct ScanOutput {
    /// `[B, L, D]`
    pub y: Tensor<3>,
    /// State after the last position, `[B, D, N]`. No gradient flows through it.
    pub last_state: Tensor<3>,
}

/// dt = softplus(delta + delta_bias); h_t = exp(dt_t A) h_(t-1) + dt_t B_t u_t; y_t = (C_t · h_t + D u_t) · silu(z_t).
///
/// Time grows with L. On a GPU chunks of 64 positions run at once, on a CPU samples and blocks of channels do. For the
/// backward pass the state at every 16th position is kept, 4 · B · D · N · ⌈L / 16⌉ bytes (at N = 16 as much as `u`), and
/// those between are computed again. What a pass holds beside operands and results, in bytes: forward on a GPU
/// 8 · B · L · N + 4 · B · D · (N + 1) · ⌈L / 64⌉, backward on a GPU 8 · B · L · N · (⌈D / 64⌉ + 1) +
/// 8 · B · D · (N + 1) · ⌈L / 64⌉, backward on a CPU 8 · B · L · N · ⌈D / 128⌉.
///
/// Tensors that are not of f32 take [`reference::selective_scan`].
///
/// # Panics
/// When the shapes do not fit each other.
pub fn selective_scan(input: ScanInput) -> ScanOutput {
    input.check();
    let f32 = input.dtypes().iter().all(|&dtype| dtype == DType::F32);
    if !f32 || input.u.dims().contains(&0) || input.a.dims().contains(&0) {
        return reference::selective_scan(input);
    }
    let options = ScanOptions {
        gated: input.z.is_some(),
        resumed: input.initial_state.is_some(),
    };
    // The dispatch takes no optional tensors: any other stands in, and is not looked at.
    let z = input.z.unwrap_or_else(|| input.u.clone()).into_dispatch();
    let initial = match input.initial_state {
        Some(initial) => initial.into_dispatch(),
        None => input.a.clone().into_dispatch(),
    };
    let (y, last_state) = Dispatch::fused_scan(
        input.u.into_dispatch(),
        input.delta.into_dispatch(),
        input.a.into_dispatch(),
        input.b.into_dispatch(),
        input.c.into_dispatch(),
        input.d.into_dispatch(),
        input.delta_bias.into_dispatch(),
        z,
        initial,
        options,
    );
    ScanOutput {
        y: Tensor::from_dispatch(y),
        last_state: Tensor::from_dispatch(last_state),
    }
}

impl ScanInput {
    /// Panics unless the shapes fit.
    fn check(&self) {
        let [batch, len, width] = self.u.dims();
        let state = self.a.dims()[1];
        let shape = |name: &str, found: &[usize], expected: &[usize]| {
            assert!(
                found == expected,
                "selective_scan: u is {:?} and a {:?}, so {name} must be {expected:?}; found {found:?}",
                self.u.dims(),
                self.a.dims()
            );
        };
        shape("delta", &self.delta.dims(), &[batch, len, width]);
        shape("a", &self.a.dims(), &[width, state]);
        shape("b", &self.b.dims(), &[batch, len, state]);
        shape("c", &self.c.dims(), &[batch, len, state]);
        shape("d", &self.d.dims(), &[width]);
        shape("delta_bias", &self.delta_bias.dims(), &[width]);
        if let Some(z) = &self.z {
            shape("z", &z.dims(), &[batch, len, width]);
        }
        if let Some(initial) = &self.initial_state {
            shape("initial_state", &initial.dims(), &[batch, width, state]);
        }
    }

    fn dtypes(&self) -> Vec<DType> {
        let mut dtypes = vec![
            self.u.dtype(),
            self.delta.dtype(),
            self.a.dtype(),
            self.b.dtype(),
            self.c.dtype(),
            self.d.dtype(),
            self.delta_bias.dtype(),
        ];
        dtypes.extend(self.z.as_ref().map(Tensor::dtype));
        dtypes.extend(self.initial_state.as_ref().map(Tensor::dtype));
        dtypes
    }
}

/// Which of the optional tensors are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanOptions {
    /// `z` is a gate.
    gated: bool,
    /// `initial` is a state.
    resumed: bool,
}

/// The tensors of a scan (or, with L dropped, of a step) on a backend.
#[derive(Debug, Clone)]
pub struct Inputs<T> {
    u: T,
    delta: T,
    a: T,
    b: T,
    c: T,
    d: T,
    delta_bias: T,
    z: Option<T>,
    initial: Option<T>,
}

impl<T> Inputs<T> {
    fn new([u, delta, a, b, c, d, delta_bias, z, initial]: [T; 9], options: ScanOptions) -> Self {
        Self {
            u,
            delta,
            a,
            b,
            c,
            d,
            delta_bias,
            z: options.gated.then_some(z),
            initial: options.resumed.then_some(initial),
        }
    }

    fn map(self, f: impl Fn(T) -> T) -> Self {
        Self {
            u: f(self.u),
            delta: f(self.delta),
            a: f(self.a),
            b: f(self.b),
            c: f(self.c),
            d: f(self.d),
            delta_bias: f(self.delta_bias),
            z: self.z.map(&f),
            initial: self.initial.map(&f),
        }
    }
}

/// The scan as an operation of the dispatching backend; called through [`selective_scan`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait ScanOps: Backend {
    /// `(y, last_state)`; shapes as in [`ScanInput`].
    #[allow(clippy::too_many_arguments)]
    fn fused_scan(
        u: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        delta_bias: FloatTensor<Self>,
        z: FloatTensor<Self>,
        initial: FloatTensor<Self>,
        options: ScanOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

/// Both passes, on the backends that execute.
pub trait ScanPasses: Backend {
    /// `(y, last_state, saved)`; saved `[B, ⌈L / 16⌉, N, D]` is the state at the start of every tile, only with `save`.
    fn scan_forward(
        inputs: Inputs<FloatTensor<Self>>,
        save: bool,
    ) -> (
        FloatTensor<Self>,
        FloatTensor<Self>,
        Option<FloatTensor<Self>>,
    );

    /// Gradients of u, delta, a, b, c, d, delta_bias and, with a gate, z.
    fn scan_backward(
        inputs: Inputs<FloatTensor<Self>>,
        saved: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> [Option<FloatTensor<Self>>; 8];
}

macro_rules! passes {
    ($backend:ty, $module:ident) => {
        impl ScanOps for $backend {
            fn fused_scan(
                u: FloatTensor<Self>,
                delta: FloatTensor<Self>,
                a: FloatTensor<Self>,
                b: FloatTensor<Self>,
                c: FloatTensor<Self>,
                d: FloatTensor<Self>,
                delta_bias: FloatTensor<Self>,
                z: FloatTensor<Self>,
                initial: FloatTensor<Self>,
                options: ScanOptions,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                let tensors = [u, delta, a, b, c, d, delta_bias, z, initial];
                let (y, last, _) = $module::forward(Inputs::new(tensors, options), false);
                (y, last)
            }
        }

        impl ScanPasses for $backend {
            fn scan_forward(
                inputs: Inputs<FloatTensor<Self>>,
                save: bool,
            ) -> (
                FloatTensor<Self>,
                FloatTensor<Self>,
                Option<FloatTensor<Self>>,
            ) {
                $module::forward(inputs, save)
            }

            fn scan_backward(
                inputs: Inputs<FloatTensor<Self>>,
                saved: FloatTensor<Self>,
                dy: FloatTensor<Self>,
            ) -> [Option<FloatTensor<Self>>; 8] {
                $module::backward(inputs, saved, dy)
            }
        }
    };
}

passes!(CubeBackend, launch);
passes!(Flex, cpu);

#[derive(Debug)]
struct ScanBackward;

impl<B: ScanPasses> Backward<B, 8> for ScanBackward {
    /// The inputs and the states at the starts of the tiles.
    type State = (Inputs<B::FloatTensorPrimitive>, B::FloatTensorPrimitive);

    fn backward(
        self,
        ops: Ops<Self::State, 8>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let nodes = ops.parents;
        let dy = grads.consume::<B>(&ops.node);
        let (inputs, saved) = ops.state;
        let gradients = B::scan_backward(inputs, saved, dy);
        // Without a gate the last node is that of the tensor which stood in, and there is no gradient.
        for (node, gradient) in nodes.into_iter().zip(gradients) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

impl<B: ScanOps + ScanPasses, C: CheckpointStrategy> ScanOps for Autodiff<B, C> {
    fn fused_scan(
        u: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        delta_bias: FloatTensor<Self>,
        z: FloatTensor<Self>,
        initial: FloatTensor<Self>,
        options: ScanOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [&u, &delta, &a, &b, &c, &d, &delta_bias, &z].map(|tensor| tensor.node());
        let tensors = [u, delta, a, b, c, d, delta_bias, z, initial];
        let inputs = Inputs::new(tensors.map(|tensor| tensor.into_primitive()), options);
        match ScanBackward.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (y, last, saved) = B::scan_forward(inputs.clone(), true);
                let saved = saved.expect("asked for");
                (prep.finish((inputs, saved), y), Self::from_inner(last))
            }
            OpsKind::UnTracked(prep) => {
                let (y, last, _) = B::scan_forward(inputs, false);
                (prep.finish(y), Self::from_inner(last))
            }
        }
    }
}
