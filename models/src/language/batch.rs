//! A batch of token ids, padded at the right.

use burn::tensor::{Device, Int, Tensor};
use caldera_shaders::Lengths;

use crate::TextBatch;

/// Token ids on a device, padded at the right to the longest sample.
#[derive(Debug, Clone)]
pub struct LanguageBatch {
    /// [B, L]
    pub input_ids: Tensor<2, Int>,
    /// Length of each sample.
    pub lengths: Lengths,
}

impl LanguageBatch {
    /// Pads samples at the right with `padding` and puts them on `device`. What stands in the padding changes no
    /// result at a real position.
    ///
    /// Ids are not checked here: see [`LanguageModel::validate`](super::LanguageModel::validate).
    pub fn new(ids: &[Vec<u32>], padding: u32, device: &Device) -> Self {
        let TextBatch {
            input_ids, lengths, ..
        } = TextBatch::new(ids, None, padding, device);
        Self { input_ids, lengths }
    }

    /// Samples.
    pub fn batch_size(&self) -> usize {
        self.input_ids.dims()[0]
    }

    /// Columns: the length of the longest sample.
    pub fn length(&self) -> usize {
        self.input_ids.dims()[1]
    }
}
