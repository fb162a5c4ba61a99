//! The loss of speech recognisers: 32 classes, a label for every four frames, as English letters are spoken.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use burn::tensor::Tensor;
use caldera_shaders::{Lengths, ctc_loss};

/// The loss alone, as an evaluation takes it.
pub(super) struct CtcLoss;

/// Loss and gradient together: the gradient is computed with the loss, and the backward pass only scales it.
pub(super) struct CtcLossGradient;

const CLASSES: usize = 32;
const BLANK: u32 = 0;

/// The loss in one of its two forms.
type Loss = fn(Tensor<3>, &Lengths, &[Vec<u32>], u32) -> Tensor<1>;

fn labels(size: &Size) -> usize {
    (size.len / 4).max(1)
}

fn losses(size: &Size, logits: Tensor<3>, loss: Loss) -> Tensor<1> {
    let target = (0..labels(size))
        .map(|i| 1 + i as u32 % (CLASSES as u32 - 1))
        .collect();
    let targets: Vec<Vec<u32>> = vec![target; size.batch];
    let frames = Lengths::full(size.batch, size.len);
    loss(logits, &frames, &targets, BLANK)
}

fn gradient(size: &Size, mut given: Given, loss: Loss) -> Results {
    let logits = given.take::<3>().autodiff().require_grad();
    let gradients = losses(size, logits.clone(), loss).sum().backward();
    row(logits
        .grad(&gradients)
        .expect("a leaf that the loss depends on has a gradient"))
}

fn logits(size: &Size) -> Vec<Argument> {
    let dims = [size.batch, size.len, CLASSES];
    vec![Argument::within("logits", dims, -4.0, 4.0)]
}

/// Values of the logits, and states of all frames.
fn values(size: &Size) -> (f64, f64) {
    (size.values(CLASSES), size.values(2 * labels(size) + 1))
}

/// Burn's operation adds up logarithms over all frames in f32: its gradient is the rougher of the two.
const ALLOWED: f64 = 1e-2;

impl Operator for CtcLoss {
    fn name(&self) -> &'static str {
        "ctc_loss"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.ssd_state > 0
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        logits(size)
    }

    fn run(&self, size: &Size, mut given: Given) -> Results {
        row(losses(size, given.take(), ctc_loss))
    }

    fn reference(&self, size: &Size, mut given: Given) -> Results {
        row(losses(size, given.take(), ctc_loss::reference::ctc_loss))
    }

    /// Reads the logits, writes a loss a sample. Three a logit for the softmax; for each frame and state three exponentials, a logarithm,
    /// two to find the largest and seven sums.
    fn forward(&self, size: &Size) -> Work {
        let (n, states) = values(size);
        Work::new(n + size.batch as f64, 3.0 * n + 13.0 * states)
    }

    /// See [`CtcLossGradient`].
    fn backward(&self, _: &Size) -> Option<Work> {
        None
    }

    fn allowed(&self) -> f64 {
        ALLOWED
    }

    /// The variables of every frame's states, several times over.
    fn reference_bytes(&self, size: &Size) -> f64 {
        64.0 * values(size).1 + 16.0 * self.forward(size).bytes
    }
}

impl Operator for CtcLossGradient {
    fn name(&self) -> &'static str {
        "ctc_loss_gradient"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        CtcLoss.applies(model)
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        logits(size)
    }

    fn run(&self, size: &Size, given: Given) -> Results {
        gradient(size, given, ctc_loss)
    }

    fn reference(&self, size: &Size, given: Given) -> Results {
        gradient(size, given, ctc_loss::reference::ctc_loss)
    }

    /// Reads the logits, writes the gradient. Twice the recursion of the loss, an exponential and five sums for the occupancy of each
    /// state; five a logit.
    fn forward(&self, size: &Size) -> Work {
        let (n, states) = values(size);
        Work::new(2.0 * n, 5.0 * n + 32.0 * states)
    }

    /// The gradient is the result.
    fn backward(&self, _: &Size) -> Option<Work> {
        None
    }

    fn allowed(&self) -> f64 {
        ALLOWED
    }

    /// As for the loss, with the gradients of all that.
    fn reference_bytes(&self, size: &Size) -> f64 {
        2.0 * CtcLoss.reference_bytes(size)
    }
}
