//! The task's own loss.

use burn::tensor::{Tensor, TensorData, activation};

/// Mean cross entropy \[1\] of logits \[B, C\] over the rows that have a label; None where no row has one.
///
/// Labels must be below C.
pub fn cross_entropy(logits: Tensor<2>, labels: &[Option<usize>]) -> Option<Tensor<1>> {
    let [_, classes] = logits.dims();
    let labelled = labels.iter().flatten().count();
    if labelled == 0 {
        return None;
    }
    // One-hot rows with the mean's weight: no gather, and unlabelled rows drop out.
    let mut weights = vec![0.0f32; labels.len() * classes];
    for (row, label) in labels.iter().enumerate() {
        if let Some(label) = label {
            weights[row * classes + label] = -1.0 / labelled as f32;
        }
    }
    let weights = TensorData::new(weights, [labels.len(), classes]);
    let weights = Tensor::<2>::from_data(weights, &logits.device().without_autodiff());
    Some((activation::log_softmax(logits, 1) * weights).sum())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn mean_over_labelled_rows_only() {
        let device = Device::flex().autodiff();
        let logits =
            Tensor::<2>::from_floats([[1.0, 2.0], [5.0, -1.0], [0.5, 0.0]], &device).require_grad();
        let loss = cross_entropy(logits.clone(), &[Some(1), None, Some(0)]).unwrap();
        let gradients = loss.backward();
        let value: f32 = loss.into_scalar();
        let want = 0.5 * ((1.0f32 + (-1.0f32).exp()).ln() + (1.0f32 + (-0.5f32).exp()).ln());
        assert!((value - want).abs() < 1e-6, "{value} {want}");
        let gradient = logits
            .grad(&gradients)
            .unwrap()
            .into_data()
            .try_to_vec::<f32>()
            .unwrap();
        assert_eq!(gradient[2..4], [0.0, 0.0]);
        assert!((gradient[0] - 0.5 / (1.0 + 1f32.exp())).abs() < 1e-6);
        assert!(cross_entropy(logits, &[None, None, None]).is_none());
    }
}
