//! Connectionist temporal classification in Burn's own operations: the named alternative in benchmarks.

use burn::tensor::{Int, Tensor, TensorData, activation, module};

use crate::Lengths;

/// The same as [`crate::ctc_loss()`] for targets that fit into their frames, at least one of them not empty.
pub fn ctc_loss(
    logits: Tensor<3>,
    frames: &Lengths,
    targets: &[Vec<u32>],
    blank: u32,
) -> Tensor<1> {
    let device = logits.device().without_autodiff();
    let longest = targets.iter().map(Vec::len).max().unwrap_or(0);
    // Padding is never read.
    let padded: Vec<i32> = targets
        .iter()
        .flat_map(|target| (0..longest).map(|i| target.get(i).map_or(0, |&label| label as i32)))
        .collect();
    let row = |values: Vec<i32>| {
        let len = values.len();
        Tensor::<1, Int>::from_data(TensorData::new(values, [len]), &device)
    };
    module::ctc_loss(
        activation::log_softmax(logits, 2).swap_dims(0, 1),
        row(padded).reshape([targets.len(), longest]),
        row(frames.as_slice().iter().map(|&n| n as i32).collect()),
        row(targets.iter().map(|target| target.len() as i32).collect()),
        blank as usize,
    )
}
