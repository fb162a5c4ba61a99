//! Convolution along time with channels last: strided, grouped, every channel of a group with every other.
//!
//! The windows of a sample with channels last are rows of a matrix that overlap in memory: window t begins `stride · C`
//! values after window t - 1. So a convolution is one matrix product a group, with nothing gathered. The feature encoder and
//! the positional convolution of Wav2Vec2 (Baevski et al. 2020, arXiv 2006.11477) run on it.

mod cpu;
mod launch;
pub mod reference;
#[cfg(test)]
mod tests;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape, Slice, Tensor};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_cubecl::CubeBackend;

/// Frames that windows of `width` positions, `stride` apart, make of `len` positions; 0 where not even one fits.
pub fn conv1d_frames(len: usize, width: usize, stride: usize) -> usize {
    match len.checked_sub(width) {
        Some(rest) => rest / stride.max(1) + 1,
        None => 0,
    }
}

/// y\[n, t\] = window t of x\[n\] times weight\[n mod G\], plus bias\[n mod G\].
///
/// `x` is `[N, L, C]`, `weight` `[G, W · C, D]` (its rows in the order of a window in memory: position, then channel),
/// `bias` `[G, D]`; the result `[N, T, D]` with T = (L - W) / stride + 1, rounded down. No padding: pad `x` before. G
/// divides N: a grouped convolution has its groups as samples of `x`, groups innermost. No buffer beyond input and output;
/// the backward adds one of the padded dY and one of the weights.
///
/// Tensors that are not of f32 take [`reference::conv1d`].
///
/// # Panics
/// When the shapes disagree, or no window fits in L.
pub fn conv1d(
    x: Tensor<3>,
    weight: Tensor<3>,
    bias: Option<Tensor<2>>,
    stride: usize,
) -> Tensor<3> {
    let [samples, len, channels] = x.dims();
    let [groups, depth, out] = weight.dims();
    let bias_dims = bias.as_ref().map(|bias| bias.dims());
    let width = depth.checked_div(channels).unwrap_or(0);
    assert!(
        stride > 0
            && width > 0
            && width * channels == depth
            && width <= len
            && groups > 0
            && samples.is_multiple_of(groups)
            && bias_dims.is_none_or(|dims| dims == [groups, out]),
        "conv1d: x [N, L, C], weight [G, W C, D] and bias [G, D] with W at most L, G dividing N and a stride of at least 1; \
         found x {:?}, weight {:?}, bias {bias_dims:?}, stride {stride}",
        x.dims(),
        weight.dims()
    );
    let f32 = x.dtype() == DType::F32
        && weight.dtype() == DType::F32
        && bias.as_ref().is_none_or(|bias| bias.dtype() == DType::F32);
    if !f32 || samples * out == 0 {
        return reference::conv1d(x, weight, bias, stride);
    }
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => Dispatch::conv1d_with_bias(x, weight, bias.into_dispatch(), stride),
        None => Dispatch::conv1d_without_bias(x, weight, stride),
    })
}

/// The convolution as an operation of the dispatching backend; called through [`conv1d`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait Conv1dOps: Backend {
    /// With a bias.
    fn conv1d_with_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self>;
    /// Without one.
    fn conv1d_without_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self>;
}

/// The product of the backward pass that the forward's kernel does not serve.
pub trait Conv1dBackward: Backend {
    /// `[G, W C, D]` of x `[N, L, C]` and dY `[N, T, D]`.
    fn conv1d_weight_gradient(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        groups: usize,
        depth: usize,
        stride: usize,
    ) -> FloatTensor<Self>;
}

macro_rules! products {
    ($backend:ty, $module:ident) => {
        impl Conv1dOps for $backend {
            fn conv1d_with_bias(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                stride: usize,
            ) -> FloatTensor<Self> {
                $module::forward(x, weight, Some(bias), stride)
            }

            fn conv1d_without_bias(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                stride: usize,
            ) -> FloatTensor<Self> {
                $module::forward(x, weight, None, stride)
            }
        }

        impl Conv1dBackward for $backend {
            fn conv1d_weight_gradient(
                x: FloatTensor<Self>,
                dy: FloatTensor<Self>,
                groups: usize,
                depth: usize,
                stride: usize,
            ) -> FloatTensor<Self> {
                $module::weight_gradient(x, dy, groups, depth, stride)
            }
        }
    };
}

products!(CubeBackend, launch);
products!(Flex, cpu);

/// Sizes of a convolution.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    samples: usize,
    len: usize,
    channels: usize,
    groups: usize,
    /// W C
    depth: usize,
    out: usize,
    stride: usize,
}

impl Sizes {
    fn of(x: &Shape, weight: &Shape, stride: usize) -> Self {
        Self {
            samples: x[0],
            len: x[1],
            channels: x[2],
            groups: weight[0],
            depth: weight[1],
            out: weight[2],
            stride,
        }
    }

    /// T
    fn frames(&self) -> usize {
        conv1d_frames(self.len, self.depth / self.channels, self.stride)
    }
}

/// dX `[N, L, C]`: position q · stride + r meets the taps r, r + stride, … of the frames q, q - 1, …, so that it is a
/// convolution of stride 1 over dY whose channels are (r, channel).
fn input_gradient<B: Conv1dOps>(
    dy: FloatTensor<B>,
    weight: FloatTensor<B>,
    sizes: Sizes,
) -> FloatTensor<B> {
    let Sizes {
        samples,
        len,
        channels,
        groups,
        depth,
        out,
        stride,
    } = sizes;
    let lags = (depth / channels).div_ceil(stride);
    let (device, dtype) = (dy.device(), dy.dtype());
    let zeros = |shape: [usize; 3]| B::float_zeros(shape.into(), &device, dtype.into());
    let missing = lags * stride * channels - depth;
    let weight = match missing {
        0 => weight,
        _ => B::float_cat(vec![weight, zeros([groups, missing, out])], 1),
    };
    // [G, lag, (r, channel), D], the longest lag first.
    let weight = B::float_reshape(weight, [groups, lags, stride * channels, out].into());
    let weight = B::float_permute(B::float_flip(weight, &[1]), &[0, 1, 3, 2]);
    let weight = B::float_reshape(weight, [groups, lags * out, stride * channels].into());
    let steps = len.div_ceil(stride);
    let mut parts = vec![dy];
    if lags > 1 {
        parts.insert(0, zeros([samples, lags - 1, out]));
    }
    if steps > sizes.frames() {
        parts.push(zeros([samples, steps - sizes.frames(), out]));
    }
    let dx = B::conv1d_without_bias(B::float_cat(parts, 1), weight, 1);
    let dx = B::float_reshape(dx, [samples, steps * stride, channels].into());
    let rows = [
        Slice::from(0..samples),
        Slice::from(0..len),
        Slice::from(0..channels),
    ];
    B::float_slice(dx, &rows)
}

/// Sums of dY `[N, T, D]` over frames and the samples of a group, `[G, D]`.
fn bias_gradient<B: Backend>(dy: FloatTensor<B>, groups: usize) -> FloatTensor<B> {
    let shape = dy.shape();
    let (samples, frames, out) = (shape[0], shape[1], shape[2]);
    let over_frames = B::float_sum_dim(B::float_reshape(dy, [samples, frames, out].into()), 1);
    let by_group = B::float_reshape(over_frames, [samples / groups, groups * out].into());
    B::float_reshape(B::float_sum_dim(by_group, 0), [groups, out].into())
}

/// Backward of the convolution without (two parents) and with (three) a bias.
#[derive(Debug)]
struct Conv1dStep;

impl<B: Conv1dOps + Conv1dBackward, const N: usize> Backward<B, N> for Conv1dStep {
    /// x, weight, stride
    type State = (B::FloatTensorPrimitive, B::FloatTensorPrimitive, usize);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let (x, weight, stride) = ops.state;
        let sizes = Sizes::of(&x.shape(), &weight.shape(), stride);
        let mut parents = ops.parents.into_iter();
        let mut parent = || parents.next().flatten();
        let (of_x, of_weight, of_bias) = (parent(), parent(), parent());
        if let Some(node) = of_weight {
            let (groups, depth) = (sizes.groups, sizes.depth);
            let gradient = B::conv1d_weight_gradient(x, dy.clone(), groups, depth, stride);
            grads.register::<B>(node.id, gradient);
        }
        if let Some(node) = of_bias {
            grads.register::<B>(node.id, bias_gradient::<B>(dy.clone(), sizes.groups));
        }
        if let Some(node) = of_x {
            grads.register::<B>(node.id, input_gradient::<B>(dy, weight, sizes));
        }
    }
}

impl<B: Conv1dOps + Conv1dBackward, C: CheckpointStrategy> Conv1dOps for Autodiff<B, C> {
    fn conv1d_with_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node(), bias.node()];
        let (x, weight, bias) = (
            x.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
        );
        match Backward::<B, 3>::prepare::<C>(Conv1dStep, nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let y = B::conv1d_with_bias(x.clone(), weight.clone(), bias, stride);
                prep.finish((x, weight, stride), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::conv1d_with_bias(x, weight, bias, stride)),
        }
    }

    fn conv1d_without_bias(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        stride: usize,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), weight.node()];
        let (x, weight) = (x.into_primitive(), weight.into_primitive());
        match Backward::<B, 2>::prepare::<C>(Conv1dStep, nodes)
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let y = B::conv1d_without_bias(x.clone(), weight.clone(), stride);
                prep.finish((x, weight, stride), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::conv1d_without_bias(x, weight, stride)),
        }
    }
}
