//! The distance between hidden states of student and teacher.
//!
//! Both distances have gradients in closed form. They are computed from values outside of the graph, and enter it as
//! one inner product a layer whose gradient is exactly theirs: backpropagation does not walk through the distance.

use burn::tensor::{Tensor, TensorData};
use caldera_shaders::Lengths;

use crate::config::LayerLoss;

/// Added to the variance where states are normed.
const EPS: f64 = 1e-5;

/// A loss whose value and graph are kept apart.
#[derive(Clone, Debug)]
pub struct Surrogate {
    /// \[1\], outside of the graph: the loss.
    pub value: Tensor<1>,
    /// \[1\], in the graph: another value, with the loss's gradient.
    pub graph: Tensor<1>,
}

/// How far two hidden states are apart, and which way the student's should move.
#[derive(Clone, Debug)]
pub struct LayerDistance {
    /// \[1\]: mean over the elements that count.
    pub value: Tensor<1>,
    /// \[B, L, D\]: gradient of `value` with respect to the student's states.
    pub gradient: Tensor<3>,
}

/// Mean square difference of `student` and `teacher` \[B, L, D\], both outside of any graph; with `normed` after a
/// LayerNorm without weights (eps 1e-5) of both. With `lengths`, over the unpadded positions only.
pub fn layer_distance(
    student: Tensor<3>,
    teacher: Tensor<3>,
    normed: bool,
    lengths: Option<&Lengths>,
) -> LayerDistance {
    let [batch, length, width] = student.dims();
    let padded =
        lengths.filter(|lengths| lengths.as_slice().iter().any(|n| (*n as usize) < length));
    let positions = match padded {
        Some(lengths) => lengths
            .as_slice()
            .iter()
            .map(|n| *n as usize)
            .sum::<usize>()
            .max(1),
        None => batch * length,
    };
    let scale = 1.0 / (positions * width) as f64;
    let mask = padded.map(|lengths| {
        Tensor::<3>::from_data(
            TensorData::new(lengths.mask(length), [batch, length, 1]),
            &student.device(),
        )
    });
    let masked = |x: Tensor<3>| match &mask {
        Some(mask) => x * mask.clone(),
        None => x,
    };
    if !normed {
        let difference = masked(student - teacher);
        let value = squared_norm(difference.clone()) * scale;
        return LayerDistance {
            value,
            gradient: difference * (2.0 * scale),
        };
    }
    let (student, inverse_deviation) = norm(student);
    let difference = masked(student.clone() - norm(teacher).0);
    let value = squared_norm(difference.clone()) * scale;
    // Backward of the LayerNorm: (g - mean(g) - y mean(g y)) / sigma, with y the normed states.
    let along = (difference.clone() * student.clone()).mean_dim(2);
    let centred = difference.clone() - difference.mean_dim(2) - student * along;
    LayerDistance {
        value,
        gradient: centred * (inverse_deviation * (2.0 * scale)),
    }
}

/// States with mean 0 and variance 1, and 1 / sqrt(variance + eps) \[B, L, 1\].
fn norm(x: Tensor<3>) -> (Tensor<3>, Tensor<3>) {
    let centred = x.clone() - x.mean_dim(2);
    let inverse = (centred.clone().square().mean_dim(2) + EPS).sqrt().recip();
    (centred * inverse.clone(), inverse)
}

fn squared_norm(x: Tensor<3>) -> Tensor<1> {
    x.square().sum()
}

/// The layer loss over embeddings (index 0) and layers: `MseSum` adds the plain distances of all of them, `NormedMean`
/// averages the normed distances of the layers, with `skip_last` of all but the last. `teacher` lies outside of any graph; both lists are equally long.
pub fn layer_loss(
    student: &[Tensor<3>],
    teacher: &[Tensor<3>],
    kind: LayerLoss,
    skip_last: bool,
    lengths: Option<&Lengths>,
) -> Option<Surrogate> {
    let (first, normed) = match kind {
        LayerLoss::MseSum => (0, false),
        LayerLoss::NormedMean => (1, true),
    };
    let count = student
        .len()
        .min(teacher.len())
        .checked_sub(first + usize::from(skip_last && normed))
        .filter(|count| *count > 0)?;
    let weight = if normed { 1.0 / count as f64 } else { 1.0 };
    student
        .iter()
        .zip(teacher)
        .skip(first)
        .take(count)
        .map(|(student, teacher)| {
            let distance = layer_distance(
                student.clone().without_autodiff(),
                teacher.clone(),
                normed,
                lengths,
            );
            let graph = (student.clone() * distance.gradient).sum();
            Surrogate {
                value: distance.value,
                graph,
            }
        })
        .reduce(|a, b| Surrogate {
            value: a.value + b.value,
            graph: a.graph + b.graph,
        })
        .map(|sum| Surrogate {
            value: sum.value * weight,
            graph: sum.graph * weight,
        })
}
