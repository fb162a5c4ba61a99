//! Connectionist temporal classification (Graves et al. 2006) of a batch.

use burn::tensor::{Bool, Tensor, TensorData};
use caldera_models::CtcReduction;
use caldera_shaders::{Lengths, ctc_loss};

/// Frames without which a target cannot be said: one a character, and one between two that are alike.
pub fn frames_needed(target: &[u32]) -> usize {
    let repeats = target.windows(2).filter(|pair| pair[0] == pair[1]);
    target.len() + repeats.count()
}

/// The negative log likelihood of every target, \[B\]; 0, with no gradient, where a target does not fit into its frames.
/// `logits` \[B, T, V\] before softmax.
pub fn ctc_losses(
    logits: Tensor<3>,
    frames: &Lengths,
    targets: &[Vec<u32>],
    blank: u32,
) -> Tensor<1> {
    let losses = ctc_loss(logits, frames, targets, blank);
    let unreachable: Vec<bool> = frames
        .as_slice()
        .iter()
        .zip(targets)
        .map(|(frames, target)| (*frames as usize) < frames_needed(target))
        .collect();
    if !unreachable.contains(&true) {
        return losses;
    }
    let count = unreachable.len();
    let mask = TensorData::new(unreachable, [count]);
    let mask = Tensor::<1, Bool>::from_data(mask, &losses.device().without_autodiff());
    losses.mask_fill(mask, 0.0)
}

/// The loss of a batch, \[1\], of those of its samples \[B\], as transformers reduces it: their sum, or the mean of each
/// divided by the length of its target. Samples without a target count for nothing; None where none has one.
pub fn reduced(
    losses: Tensor<1>,
    targets: &[Option<usize>],
    reduction: CtcReduction,
) -> Option<Tensor<1>> {
    let labelled = targets.iter().flatten().count();
    if labelled == 0 {
        return None;
    }
    let weight = |target: &Option<usize>| match (target, reduction) {
        (None, _) => 0.0,
        (Some(_), CtcReduction::Sum) => 1.0,
        (Some(length), CtcReduction::Mean) => 1.0 / ((*length).max(1) * labelled) as f32,
    };
    let weights: Vec<f32> = targets.iter().map(weight).collect();
    let weights = TensorData::new(weights, [targets.len()]);
    let weights = Tensor::<1>::from_data(weights, &losses.device().without_autodiff());
    Some((losses * weights).sum())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn reduction_as_transformers_has_it() {
        let device = Device::flex().autodiff();
        let lengths = [Some(2), None, Some(4)];
        let losses = || Tensor::<1>::from_floats([3.0, 100.0, 8.0], &device);
        let value = |reduction| {
            reduced(losses(), &lengths, reduction)
                .unwrap()
                .into_scalar::<f32>()
        };
        assert!((value(CtcReduction::Sum) - 11.0).abs() < 1e-6);
        assert!((value(CtcReduction::Mean) - 1.75).abs() < 1e-6);
        assert!(reduced(losses(), &[None, None, None], CtcReduction::Sum).is_none());
    }

    #[test]
    fn a_target_that_does_not_fit_costs_nothing() {
        assert_eq!((frames_needed(&[1, 1, 2]), frames_needed(&[])), (4, 0));
        let device = Device::flex().autodiff();
        let logits = Tensor::<3>::zeros([2, 3, 3], &device).require_grad();
        let losses = ctc_losses(
            logits.clone(),
            &Lengths::full(2, 3),
            &[vec![1, 1, 2], vec![1]],
            0,
        );
        let gradients = losses.clone().sum().backward();
        let found = losses.into_data().try_to_vec::<f32>().unwrap();
        // One character in three frames: six of 27 paths.
        assert_eq!(found[0], 0.0);
        assert!((found[1] - (27f32 / 6.0).ln()).abs() < 1e-5, "{found:?}");
        let gradient = logits
            .grad(&gradients)
            .unwrap()
            .into_data()
            .try_to_vec::<f32>()
            .unwrap();
        assert!(gradient[..9].iter().all(|g| *g == 0.0) && gradient[9..].iter().any(|g| *g != 0.0));
    }
}
