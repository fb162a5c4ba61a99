//! Cross entropy of the next token.

use burn::tensor::{Tensor, TensorData, activation};

use crate::batches::BlockBatch;

/// Minus the log probability of every target, \[B, L\], zero at padded positions. `logits` \[B, L, V\].
pub fn next_token_losses(logits: Tensor<3>, batch: &BlockBatch) -> Tensor<2> {
    let [rows, length, _] = logits.dims();
    let losses = activation::log_softmax(logits, 2)
        .gather(2, batch.targets.clone().unsqueeze_dim::<3>(2))
        .reshape([rows, length])
        .neg();
    let padded = batch
        .input
        .lengths
        .as_slice()
        .iter()
        .any(|n| (*n as usize) < length);
    if !padded {
        return losses;
    }
    let mask = TensorData::new(batch.input.lengths.mask(length), [rows, length]);
    let mask = Tensor::<2>::from_data(mask, &losses.device().without_autodiff());
    losses * mask
}

/// Mean over the predicted tokens, \[1\].
pub fn next_token_loss(logits: Tensor<3>, batch: &BlockBatch) -> Tensor<1> {
    next_token_losses(logits, batch).sum() / batch.predicted().max(1) as f64
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::batches::Blocks;

    #[test]
    fn padding_counts_for_nothing() {
        let device = Device::flex();
        let blocks = Blocks::new(vec![0, 1, 2, 0, 1], 3, 5).unwrap();
        let batch = blocks.batch(&[0, 1], &device);
        let values: Vec<f32> = (0..2 * 3 * 3).map(|i| (i as f32 * 0.7).sin()).collect();
        let logits = Tensor::<3>::from_data(TensorData::new(values.clone(), [2, 3, 3]), &device);
        let found: f32 = next_token_loss(logits, &batch).into_scalar();
        let mut want = 0.0;
        for (position, target) in [(0, 1), (1, 2), (2, 0), (3, 1)] {
            let row = &values[position * 3..position * 3 + 3];
            want += row.iter().map(|x| x.exp()).sum::<f32>().ln() - row[target];
        }
        assert!((found - want / 4.0).abs() < 1e-6, "{found} {want}");
    }
}
