//! One position of the selective scan, for decoding.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeBackend;

use super::{Inputs, ScanOptions, cpu, launch, reference};

/// What [`selective_scan_step`] takes: a [`ScanInput`](super::ScanInput) of one position.
#[derive(Debug, Clone)]
pub struct ScanStepInput {
    /// Values, `[B, D]`.
    pub u: Tensor<2>,
    /// Steps before bias and softplus, `[B, D]`.
    pub delta: Tensor<2>,
    /// Rates of decay, `[D, N]`, all negative.
    pub a: Tensor<2>,
    /// What enters the states, `[B, N]`.
    pub b: Tensor<2>,
    /// How the states are read, `[B, N]`.
    pub c: Tensor<2>,
    /// Weight of the way past the states, `[D]`.
    pub d: Tensor<1>,
    /// Gate, `[B, D]`.
    pub z: Option<Tensor<2>>,
    /// Added to `delta`, `[D]`.
    pub delta_bias: Tensor<1>,
    /// State after the position before, `[B, D, N]`.
    pub state: Tensor<3>,
}

/// `(y, state)`, `[B, D]` and `[B, D, N]`: one position of [`selective_scan`](super::selective_scan()), on a device
/// without autodiff. Its cost does not depend on the position.
///
/// # Panics
/// When the shapes do not fit each other.
pub fn selective_scan_step(input: ScanStepInput) -> (Tensor<2>, Tensor<3>) {
    let [batch, width] = input.u.dims();
    let state = input.a.dims()[1];
    let shape = |name: &str, found: &[usize], expected: &[usize]| {
        assert!(
            found == expected,
            "selective_scan_step: u is {:?} and a {:?}, so {name} must be {expected:?}; found {found:?}",
            input.u.dims(),
            input.a.dims()
        );
    };
    shape("delta", &input.delta.dims(), &[batch, width]);
    shape("a", &input.a.dims(), &[width, state]);
    shape("b", &input.b.dims(), &[batch, state]);
    shape("c", &input.c.dims(), &[batch, state]);
    shape("d", &input.d.dims(), &[width]);
    shape("delta_bias", &input.delta_bias.dims(), &[width]);
    shape("state", &input.state.dims(), &[batch, width, state]);
    let mut dtypes = vec![
        input.u.dtype(),
        input.delta.dtype(),
        input.a.dtype(),
        input.b.dtype(),
        input.c.dtype(),
        input.d.dtype(),
        input.delta_bias.dtype(),
        input.state.dtype(),
    ];
    if let Some(z) = &input.z {
        shape("z", &z.dims(), &[batch, width]);
        dtypes.push(z.dtype());
    }
    if dtypes.iter().any(|&dtype| dtype != DType::F32) || batch * width * state == 0 {
        return reference::selective_scan_step(input);
    }
    let gated = input.z.is_some();
    let z = input.z.unwrap_or_else(|| input.u.clone());
    let (y, state) = Dispatch::fused_scan_step(
        input.u.into_dispatch(),
        input.delta.into_dispatch(),
        input.a.into_dispatch(),
        input.b.into_dispatch(),
        input.c.into_dispatch(),
        input.d.into_dispatch(),
        input.delta_bias.into_dispatch(),
        z.into_dispatch(),
        input.state.into_dispatch(),
        gated,
    );
    (Tensor::from_dispatch(y), Tensor::from_dispatch(state))
}

/// The step as an operation of the dispatching backend; called through [`selective_scan_step`].
#[backend_extension(Cube, Flex)]
pub trait ScanStepOps: Backend {
    /// `(y, state)`; shapes as in [`ScanStepInput`]. `z` is a gate only when `gated`.
    #[allow(clippy::too_many_arguments)]
    fn fused_scan_step(
        u: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        delta_bias: FloatTensor<Self>,
        z: FloatTensor<Self>,
        state: FloatTensor<Self>,
        gated: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

macro_rules! step {
    ($backend:ty, $module:ident) => {
        impl ScanStepOps for $backend {
            fn fused_scan_step(
                u: FloatTensor<Self>,
                delta: FloatTensor<Self>,
                a: FloatTensor<Self>,
                b: FloatTensor<Self>,
                c: FloatTensor<Self>,
                d: FloatTensor<Self>,
                delta_bias: FloatTensor<Self>,
                z: FloatTensor<Self>,
                state: FloatTensor<Self>,
                gated: bool,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                let options = ScanOptions {
                    gated,
                    resumed: true,
                };
                let tensors = [u, delta, a, b, c, d, delta_bias, z, state];
                $module::step(Inputs::new(tensors, options))
            }
        }
    };
}

step!(CubeBackend, launch);
step!(Flex, cpu);
