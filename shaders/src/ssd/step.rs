//! One position of the scan, for decoding.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{DType, Tensor};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use burn_flex::FlexTensor;

use super::{LEAST_EXPONENT, Parts, SsdInput, SsdOutput, cpu, launch, products, reference};
use crate::cpu::{contiguous, fresh, multiply_add, tensor, wide};
use crate::launch::{Kernel, empty};
use crate::product::{Shared, tasks};

/// One position of [`ssd`](super::ssd): `(y [B, H, P], state [B, H, P, N])`, without autodiff.
///
/// `x` `[B, H, P]`, `dt` `[B, H]`, `a` `[H]`, `b` and `c` `[B, G, N]`, `d` and `dt_bias` `[H]`, `state` `[B, H, P, N]` after the
/// position before. A state that nobody else holds is changed in place. Tensors that are not of f32 take
/// [`reference::ssd`].
///
/// # Panics
/// When the shapes do not fit.
#[allow(clippy::too_many_arguments)] // The tensors of a position, in the order of `SsdInput`.
pub fn ssd_step(
    x: Tensor<3>,
    dt: Tensor<2>,
    a: Tensor<1>,
    b: Tensor<3>,
    c: Tensor<3>,
    d: Tensor<1>,
    dt_bias: Tensor<1>,
    state: Tensor<4>,
) -> (Tensor<3>, Tensor<4>) {
    let [batch, heads, width] = x.dims();
    let [_, groups, columns] = b.dims();
    let fits = dt.dims() == [batch, heads]
        && [a.dims(), d.dims(), dt_bias.dims()] == [[heads]; 3]
        && b.dims() == [batch, groups, columns]
        && c.dims() == b.dims()
        && state.dims() == [batch, heads, width, columns]
        && groups > 0
        && heads.is_multiple_of(groups);
    assert!(
        fits,
        "ssd_step: expected x [B, H, P], dt [B, H], a, d and dt_bias [H], b and c [B, G, N], state [B, H, P, N]; found \
         {:?}, {:?}, {:?}, {:?}, {:?}, {:?}, {:?}, {:?}",
        x.dims(),
        dt.dims(),
        a.dims(),
        d.dims(),
        dt_bias.dims(),
        b.dims(),
        c.dims(),
        state.dims()
    );
    let types = [x.dtype(), dt.dtype(), a.dtype(), b.dtype(), c.dtype()];
    let f32 =
        types == [DType::F32; 5] && [d.dtype(), dt_bias.dtype(), state.dtype()] == [DType::F32; 3];
    if !f32 || state.dims().contains(&0) {
        let SsdOutput { y, final_state } = reference::ssd(SsdInput {
            x: x.unsqueeze_dim(1),
            dt: dt.unsqueeze_dim(1),
            a,
            b: b.unsqueeze_dim(1),
            c: c.unsqueeze_dim(1),
            d,
            dt_bias,
            initial_state: Some(state),
        });
        return (y.squeeze_dim(1), final_state);
    }
    let (y, state) = Dispatch::fused_ssd_step(
        x.into_dispatch(),
        dt.into_dispatch(),
        a.into_dispatch(),
        b.into_dispatch(),
        c.into_dispatch(),
        d.into_dispatch(),
        dt_bias.into_dispatch(),
        state.into_dispatch(),
    );
    (Tensor::from_dispatch(y), Tensor::from_dispatch(state))
}

/// The step as an operation of the dispatching backend; called through [`ssd_step`].
#[backend_extension(Cube, Flex)]
pub trait SsdStepOps: Backend {
    /// `(y, state)`; shapes as in [`ssd_step`].
    #[allow(clippy::too_many_arguments)] // The macro takes tensors one by one.
    fn fused_ssd_step(
        x: FloatTensor<Self>,
        dt: FloatTensor<Self>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
        dt_bias: FloatTensor<Self>,
        state: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

macro_rules! step {
    ($backend:ty, $function:ident) => {
        impl SsdStepOps for $backend {
            fn fused_ssd_step(
                x: FloatTensor<Self>,
                dt: FloatTensor<Self>,
                a: FloatTensor<Self>,
                b: FloatTensor<Self>,
                c: FloatTensor<Self>,
                d: FloatTensor<Self>,
                dt_bias: FloatTensor<Self>,
                state: FloatTensor<Self>,
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
                $function(parts, state)
            }
        }
    };
}

step!(CubeBackend, on_gpu);
step!(Flex, on_cpu);

fn on_gpu(parts: Parts<CubeTensor>, state: CubeTensor) -> (CubeTensor, CubeTensor) {
    const THREADS: u32 = 64;
    let parts = parts.map(crate::launch::contiguous);
    let state = launch::own(crate::launch::contiguous(state));
    let shape = parts.x.shape();
    let (batch, heads, width) = (shape[0], shape[1], shape[2]);
    let (groups, columns) = (parts.b.shape()[1], parts.b.shape()[2]);
    // A kernel of its own: dt, a and dt_bias beside the others would be more bindings than every browser grants.
    let steps = empty(&parts.x, [batch, heads, 2]);
    Kernel::new("ssd step sizes", include_str!("step_sizes.wgsl"), THREADS)
        .set("softplus", products::SOFTPLUS)
        .set("least", format!("{LEAST_EXPONENT:?}"))
        .launch(
            &[&parts.dt, &parts.a, &parts.dt_bias, &steps],
            &[(batch * heads) as u32, heads as u32],
            (batch * heads).div_ceil(THREADS as usize),
        );
    let y = empty(&parts.x, shape);
    Kernel::new("ssd step", include_str!("step.wgsl"), THREADS)
        .workgroup_memory(THREADS as usize * 4)
        .launch(
            &[&parts.x, &steps, &parts.b, &parts.c, &parts.d, &state, &y],
            &[batch, heads, width, groups, columns].map(|size| size as u32),
            batch * heads * width,
        );
    (y, state)
}

/// The row p of the state becomes `decay` times itself plus `inputs[p]` `b`; y its product with `c`, plus `skip` `x`.
#[inline(always)]
fn rows_body<const FMA: bool>(
    state: &mut [f32],
    y: &mut [f32],
    x: &[f32],
    [b, c]: [&[f32]; 2],
    [decay, delta, skip]: [f32; 3],
) {
    for ((row, y), &x) in state.chunks_exact_mut(b.len()).zip(y).zip(x) {
        let input = delta * x;
        let mut lanes = [0.0; 16];
        let (rows, rest) = row.as_chunks_mut::<16>();
        let ((b, b_rest), (c, c_rest)) = (b.as_chunks::<16>(), c.as_chunks::<16>());
        for ((row, b), c) in rows.iter_mut().zip(b).zip(c) {
            for l in 0..16 {
                row[l] = multiply_add::<FMA>(input, b[l], decay * row[l]);
                lanes[l] = multiply_add::<FMA>(row[l], c[l], lanes[l]);
            }
        }
        let mut sum = lanes.iter().sum::<f32>();
        for ((row, b), c) in rest.iter_mut().zip(b_rest).zip(c_rest) {
            *row = multiply_add::<FMA>(input, *b, decay * *row);
            sum += *row * c;
        }
        *y = multiply_add::<FMA>(skip, x, sum);
    }
}

wide!(
    fn rows(state: &mut [f32], y: &mut [f32], x: &[f32], vectors: [&[f32]; 2], factors: [f32; 3]) => rows_body
);

fn on_cpu(parts: Parts<FlexTensor>, state: FlexTensor) -> (FlexTensor, FlexTensor) {
    let parts = parts.map(contiguous);
    let mut state = contiguous(state);
    let shape = parts.x.layout().shape().clone();
    let (heads, width) = (shape[1], shape[2]);
    let vectors = parts.b.layout().shape().clone();
    let (groups, columns) = (vectors[1], vectors[2]);
    let (x, dt) = (parts.x.storage::<f32>(), parts.dt.storage::<f32>());
    let (b, c) = (parts.b.storage::<f32>(), parts.c.storage::<f32>());
    let of_heads = [&parts.a, &parts.d, &parts.dt_bias].map(|tensor| tensor.storage::<f32>());
    let mut y = fresh(x.len());
    let values = state.storage_mut::<f32>();
    let parallel = values.len() > 256 * 1024;
    let (shared_state, shared_y) = (Shared::new(values), Shared::new(&mut y));
    tasks(
        dt.len(),
        parallel,
        || (),
        |(), task| {
            let (sample, head) = (task / heads, task % heads);
            let [a, d, dt_bias] = of_heads.map(|values| values[head]);
            let delta = cpu::softplus(dt[task] + dt_bias);
            let exponent = delta * a;
            let exponent = if exponent < LEAST_EXPONENT {
                LEAST_EXPONENT
            } else {
                exponent
            };
            let area = width * columns;
            // SAFETY: a task alone writes what belongs to its head of its sample.
            let (mut state, mut y) = unsafe {
                (
                    shared_state.matrix(task * area, [1, area], area),
                    shared_y.matrix(task * width, [1, width], width),
                )
            };
            let start = (sample * groups + head / (heads / groups)) * columns;
            let vectors = [&b[start..start + columns], &c[start..start + columns]];
            let x = &x[task * width..][..width];
            rows(
                state.row(0),
                y.row(0),
                x,
                vectors,
                [exponent.exp(), delta, d],
            );
        },
    );
    (tensor(y, shape), state)
}
