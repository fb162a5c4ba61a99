//! Token ids are checked before anything is computed: on a device, an id out of range reads somebody else's row.

use super::LanguageModel;
use crate::ModelError;

impl LanguageModel {
    /// Whether the model can take these samples: none empty, every id in its table, and with attention none longer than
    /// its positions.
    ///
    /// # Errors
    /// [`ModelError::Input`] with the sample's index.
    pub fn validate(&self, ids: &[Vec<u32>]) -> Result<(), ModelError> {
        ids.iter()
            .enumerate()
            .try_for_each(|(sample, ids)| self.validate_sample(sample, ids))
    }

    pub(super) fn validate_sample(&self, sample: usize, ids: &[u32]) -> Result<(), ModelError> {
        let bad = |detail: String, advice: &str| {
            Err(ModelError::Input {
                sample,
                detail,
                advice: advice.to_string(),
            })
        };
        if ids.is_empty() {
            return bad(
                "expected at least one token, found none".to_string(),
                "Give a text that is not empty",
            );
        }
        if let Some(most) = self.config.max_length().filter(|&most| ids.len() > most) {
            return bad(
                format!(
                    "expected at most {most} tokens (max_position_embeddings), found {}",
                    ids.len()
                ),
                "Shorten the text, or take a model with a Mamba mixer, which has no such limit",
            );
        }
        let rows = self.config.vocab_size;
        match ids.iter().enumerate().find(|&(_, &id)| id as usize >= rows) {
            Some((at, id)) => bad(
                format!("expected token ids below vocab_size {rows}, found {id} at position {at}"),
                "Use the tokenizer.json that belongs to the model",
            ),
            None => Ok(()),
        }
    }
}
