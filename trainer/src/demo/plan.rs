//! How large the demo is.

use crate::config::DeviceChoice;

/// Sizes of the demo. The defaults fit 2 CPU cores and three and a half minutes.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seed of documents, parameters and orders.
    pub seed: u64,
    /// Where to compute.
    pub device: DeviceChoice,
    /// Width of the model.
    pub hidden_size: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Positions that the student's keys and values are projected to.
    pub k: usize,
    /// Typical length that the projections start for. Shorter than the documents': a slot then takes every so manyth position instead of
    /// a long stretch, and one fact among filler words is not averaged away.
    pub reference_length: usize,
    /// Documents in a batch.
    pub batch_size: usize,
    /// Steps of the model that all start from, on short documents.
    pub pretraining_steps: u64,
    /// Steps of the teacher, on documents of every length.
    pub teacher_steps: u64,
    /// Steps of every student.
    pub student_steps: u64,
    /// Documents to evaluate on.
    pub valid_documents: usize,
    /// Learning rate of the transformer.
    pub teacher_rate: f64,
    /// Learning rate of the students.
    pub student_rate: f64,
    /// Weight of the layer loss.
    pub alpha_layer: f64,
    /// Weight of the divergence from the teacher's logits.
    pub alpha_logits: f64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            seed: 1,
            device: DeviceChoice::Auto,
            hidden_size: 64,
            layers: 2,
            heads: 4,
            k: 64,
            reference_length: 55,
            batch_size: 32,
            pretraining_steps: 160,
            teacher_steps: 230,
            student_steps: 220,
            valid_documents: 400,
            teacher_rate: 3e-3,
            student_rate: 3e-3,
            alpha_layer: 3.0,
            alpha_logits: 0.0,
        }
    }
}
