//! The place of the rotation in the autodiff graph: one input, three outputs.
//!
//! Burn's operations have one output. Parts that are taken out of one tensor by slices would each bring a gradient of the whole, of zeros
//! but for the part, to be added up: several times the bytes of the pass itself. Here each part leaves its gradient in a common place, and a
//! node between the parts and the packed projection, whose own value and gradient are a single zero, makes one pass over all three.

use std::sync::{Arc, Mutex, PoisonError};

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, TensorMetadata};
use burn::tensor::Shape;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::{RotaryBackward, RotaryOps};

/// The gradients of query, key and value, as far as they have come.
type Gathered<B> = Arc<Mutex<[Option<FloatTensor<B>>; 3]>>;

/// From a part to the node between.
#[derive(Debug)]
struct PartStep;

impl<B: RotaryBackward> Backward<B, 1> for PartStep {
    /// Where the gradient goes, as which part, and the zero that stands for it at the node between.
    type State = (Gathered<B>, usize, FloatTensor<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node] = ops.parents;
        let gradient = grads.consume::<B>(&ops.node);
        if let Some(node) = node {
            let (gathered, part, zero) = ops.state;
            // Three places that are set one after the other are whole at any time.
            let mut places = gathered.lock().unwrap_or_else(PoisonError::into_inner);
            if places.iter().all(Option::is_none) {
                grads.register::<B>(node.id, zero);
            }
            places[part] = Some(gradient);
        }
    }
}

/// From the node between to the packed projection.
#[derive(Debug)]
struct RotaryStep;

impl<B: RotaryBackward> Backward<B, 1> for RotaryStep {
    /// The gradients of the parts; cos and sin; the shape of a part.
    type State = (Gathered<B>, [FloatTensor<B>; 2], Shape);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let [node] = ops.parents;
        grads.consume::<B>(&ops.node);
        if let Some(node) = node {
            let (gathered, [cos, sin], shape) = ops.state;
            let parts =
                std::mem::take(&mut *gathered.lock().unwrap_or_else(PoisonError::into_inner));
            // A part that nobody used has none.
            let (device, dtype) = (cos.device(), cos.dtype());
            let parts = parts.map(|part| {
                part.unwrap_or_else(|| B::float_zeros(shape.clone(), &device, dtype.into()))
            });
            grads.register::<B>(node.id, B::rotary_gradient(parts, cos, sin));
        }
    }
}

impl<B: RotaryBackward, C: CheckpointStrategy> RotaryOps for Autodiff<B, C> {
    fn rotary_parts(
        packed: FloatTensor<Self>,
        cos: FloatTensor<Self>,
        sin: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let nodes = [packed.node()];
        let packed = packed.into_primitive();
        let (cos, sin) = (cos.into_primitive(), sin.into_primitive());
        let between = Backward::<B, 1>::prepare::<C>(RotaryStep, nodes);
        let between = between.compute_bound().stateful();
        let OpsKind::Tracked(between) = between else {
            let (query, key, value) = B::rotary_parts(packed, cos, sin);
            let [query, key, value] =
                [query, key, value].map(<Self as AutodiffBackend>::from_inner);
            return (query, key, value);
        };
        let (device, dtype) = (packed.device(), packed.dtype());
        let zero = B::float_zeros(Shape::from([1]), &device, dtype.into());
        let (query, key, value) = B::rotary_parts(packed, cos.clone(), sin.clone());
        let gathered = Gathered::<B>::default();
        let state = (gathered.clone(), [cos, sin], query.shape());
        let between: FloatTensor<Self> = between.finish(state, zero.clone());
        let part = |number, value| {
            let step = Backward::<B, 1>::prepare::<C>(PartStep, [between.node()]);
            match step.compute_bound().stateful() {
                OpsKind::Tracked(step) => {
                    step.finish((gathered.clone(), number, zero.clone()), value)
                }
                OpsKind::UnTracked(step) => step.finish(value),
            }
        };
        (part(0, query), part(1, key), part(2, value))
    }
}
