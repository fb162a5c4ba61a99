//! Divergence of the student's answers from the teacher's at a temperature (Hinton et al. 2015).

use burn::tensor::{Tensor, TensorData, activation};
use caldera_shaders::Lengths;

/// What the sum over rows is divided by.
#[derive(Clone, Copy, Debug)]
pub enum LogitsMean<'a> {
    /// The first dimension.
    Batch,
    /// All rows.
    Tokens,
    /// The unpadded positions; the others are left out.
    Valid(&'a Lengths),
}

/// KL(teacher ‖ student) of every row \[B, L\] of logits \[B, L, V\] divided by `temperature`; `teacher` outside of any graph.
pub fn divergence(student: Tensor<3>, teacher: Tensor<3>, temperature: f64) -> Tensor<2> {
    let student = activation::log_softmax(student / temperature, 2);
    let teacher = activation::log_softmax(teacher / temperature, 2);
    let [batch, length, _] = student.dims();
    (teacher.clone().exp() * (teacher - student))
        .sum_dim(2)
        .reshape([batch, length])
}

/// The mean divergence times T², \[1\]. A batch of classifier logits \[B, C\] comes as \[B, 1, C\].
pub fn logits_loss(
    student: Tensor<3>,
    teacher: Tensor<3>,
    temperature: f64,
    mean: LogitsMean<'_>,
) -> Tensor<1> {
    let [batch, length, _] = student.dims();
    let each = divergence(student, teacher, temperature);
    let (each, count) = match mean {
        LogitsMean::Batch => (each, batch),
        LogitsMean::Tokens => (each, batch * length),
        LogitsMean::Valid(lengths) => {
            let mask = TensorData::new(lengths.mask(length), [batch, length]);
            let mask = Tensor::<2>::from_data(mask, &each.device().without_autodiff());
            (
                each * mask,
                lengths
                    .as_slice()
                    .iter()
                    .map(|n| *n as usize)
                    .sum::<usize>()
                    .max(1),
            )
        }
    };
    each.sum() * (temperature * temperature / count as f64)
}
