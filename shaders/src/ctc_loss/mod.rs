//! Connectionist temporal classification (Graves et al. 2006, "Connectionist temporal classification: labelling unsegmented
//! sequence data with recurrent neural networks"), the loss of speech recognisers whose frames carry no labels of their own.

mod case;
mod cpu;
mod launch;
pub mod reference;
#[cfg(test)]
mod tests;

pub(crate) use case::check_case;

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{DType, Tensor, TensorData};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_cubecl::CubeBackend;

use crate::launch::max_binding;
use crate::{Lengths, ShapeError};

/// Negative log likelihood `[B]` of `targets`: −log Σ over all ways to spell a target in its frames, one label or the blank a
/// frame, equal labels in a row read as one.
///
/// `logits` is `[B, T, V]` before softmax, `frames` the real frames of each sample; frames past them do not count and get
/// gradient 0. A target may be empty. One that does not fit into its frames (a blank must lie between two equal labels) has loss
/// +∞ and gradient 0.
///
/// Forward and backward variables are kept as logarithms, those of a frame relative to the best of the frame before, so that
/// neither long clips nor logits of any finite size overflow or lose digits. The gradient (softmax minus occupancy) is computed
/// with the loss and kept, B · T · V values; the backward pass scales it. While it is computed, with S the longest target and
/// B′ the samples that are worked on at a time, memory grows by
///
/// * GPU: B · T · 2 + 2 · B′ · T · (2S + 1) values, B′ so that each half is at most 128 MiB,
/// * CPU: B′ · (T + 1) · (2S + 3) values, B′ the number of cores,
/// * without autodiff: B · T · 2 + 2 · B · (2S + 1) values on the GPU, B′ · (T · V + 2 · (2S + 3)) on the CPU.
///
/// Logits of another type than f32 are cast to f32 and the loss back.
///
/// # Panics
/// Where [`try_ctc_loss`] gives an error.
pub fn ctc_loss(
    logits: Tensor<3>,
    frames: &Lengths,
    targets: &[Vec<u32>],
    blank: u32,
) -> Tensor<1> {
    match try_ctc_loss(logits, frames, targets, blank) {
        Ok(loss) => loss,
        Err(error) => panic!("{error}"),
    }
}

/// The same as [`ctc_loss`], for targets from outside.
///
/// # Errors
/// When the batch of `frames` or `targets` is another than that of `logits`, a sample has more than T frames, a label is the
/// blank or not below V, or, on a GPU, T · (2S + 1) values exceed a binding.
pub fn try_ctc_loss(
    logits: Tensor<3>,
    frames: &Lengths,
    targets: &[Vec<u32>],
    blank: u32,
) -> Result<Tensor<1>, ShapeError> {
    let [batch, len, classes] = logits.dims();
    check([batch, len, classes], frames, targets, blank)?;
    let device = logits.device();
    let problem = Problem {
        frames: frames.clone(),
        targets: targets.into(),
        blank,
    };
    let bytes = (len * problem.states() * size_of::<f32>()) as u64;
    if let Some(limit) = max_binding(&device).filter(|&limit| bytes > limit) {
        return Err(refusal(
            "targets",
            format!(
                "frames x (2 x labels + 1) of at most {}, shorter clips or texts",
                limit / 4
            ),
            vec![len, problem.longest()],
        ));
    }
    if batch == 0 || len == 0 {
        // Without a frame only the empty target can be spelt.
        let losses = targets
            .iter()
            .map(|target| {
                if target.is_empty() {
                    0.0
                } else {
                    f32::INFINITY
                }
            })
            .collect();
        return Ok(Tensor::from_data(TensorData::new(losses, [batch]), &device));
    }
    let dtype = logits.dtype();
    let logits = match dtype {
        DType::F32 => logits,
        _ => logits.cast(DType::F32),
    };
    let loss = Tensor::from_dispatch(Dispatch::fused_ctc_loss(logits.into_dispatch(), problem));
    Ok(match dtype {
        DType::F32 => loss,
        _ => loss.cast(dtype),
    })
}

fn refusal(tensor: &'static str, expected: String, found: Vec<usize>) -> ShapeError {
    ShapeError::Tensor {
        operator: "ctc_loss",
        tensor,
        expected,
        found,
    }
}

fn check(
    [batch, len, classes]: [usize; 3],
    frames: &Lengths,
    targets: &[Vec<u32>],
    blank: u32,
) -> Result<(), ShapeError> {
    if blank as usize >= classes {
        let expected = format!("an id below the {classes} classes of the logits");
        return Err(refusal("blank", expected, vec![blank as usize]));
    }
    if frames.batch() != batch || frames.max() > len {
        let found = frames.as_slice().iter().map(|&n| n as usize).collect();
        let expected = format!("{batch} lengths of at most {len} frames");
        return Err(refusal("frames", expected, found));
    }
    if targets.len() != batch {
        let expected = format!("the targets of {batch} samples");
        return Err(refusal("targets", expected, vec![targets.len()]));
    }
    for (sample, target) in targets.iter().enumerate() {
        let bad = |&label: &u32| label == blank || label as usize >= classes;
        if let Some(position) = target.iter().position(bad) {
            return Err(ShapeError::Label {
                sample,
                position,
                label: target[position],
                classes,
                blank,
            });
        }
    }
    Ok(())
}

/// What is asked about the logits: the frames, the targets and the blank, checked against them.
#[derive(Debug, Clone)]
pub struct Problem {
    frames: Lengths,
    targets: Arc<[Vec<u32>]>,
    blank: u32,
}

impl Problem {
    /// Labels of the longest target.
    fn longest(&self) -> usize {
        self.targets.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// States of the longest target: its labels with a blank before, between and after them.
    fn states(&self) -> usize {
        2 * self.longest() + 1
    }
}

/// The loss as an operation of the dispatching backend; called through [`ctc_loss`].
#[backend_extension(Cube, Flex, Autodiff)]
pub trait CtcLossOps: Backend {
    /// `logits` `[B, T, V]`; loss `[B]`.
    fn fused_ctc_loss(logits: FloatTensor<Self>, problem: Problem) -> FloatTensor<Self>;
}

/// The loss with its gradient, on the backends that execute.
pub trait CtcLossPasses: CtcLossOps {
    /// `(loss, gradient)`, the gradient `[B, T, V]` of each sample's own loss.
    fn ctc_loss_with_gradient(
        logits: FloatTensor<Self>,
        problem: &Problem,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
}

macro_rules! passes {
    ($backend:ty, $module:ident) => {
        impl CtcLossOps for $backend {
            fn fused_ctc_loss(logits: FloatTensor<Self>, problem: Problem) -> FloatTensor<Self> {
                $module::loss(logits, &problem)
            }
        }

        impl CtcLossPasses for $backend {
            fn ctc_loss_with_gradient(
                logits: FloatTensor<Self>,
                problem: &Problem,
            ) -> (FloatTensor<Self>, FloatTensor<Self>) {
                $module::loss_with_gradient(logits, problem)
            }
        }
    };
}

passes!(CubeBackend, launch);
passes!(Flex, cpu);

#[derive(Debug)]
struct CtcLossStep;

impl<B: CtcLossPasses> Backward<B, 1> for CtcLossStep {
    /// The gradient; B
    type State = (B::FloatTensorPrimitive, usize);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node] = ops.parents;
        let upstream = grads.consume::<B>(&ops.node);
        if let Some(node) = node {
            let (gradient, batch) = ops.state;
            let upstream = B::float_reshape(upstream, [batch, 1, 1].into());
            grads.register::<B>(node.id, B::float_mul(gradient, upstream));
        }
    }
}

impl<B: CtcLossPasses, C: CheckpointStrategy> CtcLossOps for Autodiff<B, C> {
    fn fused_ctc_loss(logits: FloatTensor<Self>, problem: Problem) -> FloatTensor<Self> {
        let nodes = [logits.node()];
        let logits = logits.into_primitive();
        match CtcLossStep.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (loss, gradient) = B::ctc_loss_with_gradient(logits, &problem);
                prep.finish((gradient, problem.targets.len()), loss)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_ctc_loss(logits, problem)),
        }
    }
}
