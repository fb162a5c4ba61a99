//! Token ids are checked before anything is computed: on a device, an id out of range reads somebody else's row.

use super::TextModel;
use crate::ModelError;

impl TextModel {
    /// Whether the model can take these samples: none empty, none longer than its positions, every id in its table.
    ///
    /// # Errors
    /// [`ModelError::Input`] with the sample's index.
    pub fn validate(&self, ids: &[Vec<u32>]) -> Result<(), ModelError> {
        let config = &self.config;
        let longest = config.max_length();
        for (sample, ids) in ids.iter().enumerate() {
            let bad = |detail: String, advice: &str| ModelError::Input {
                sample,
                detail,
                advice: advice.to_string(),
            };
            if ids.is_empty() {
                return Err(bad(
                    "expected at least one token, found none".to_string(),
                    "Leave empty texts out, or encode them with special tokens",
                ));
            }
            if ids.len() > longest {
                return Err(bad(
                    format!(
                        "expected at most {longest} tokens (max_position_embeddings {}), found {}",
                        config.max_position_embeddings,
                        ids.len()
                    ),
                    "Shorten the text or lower the maximum length",
                ));
            }
            if let Some((at, id)) = ids
                .iter()
                .enumerate()
                .find(|&(_, &id)| id as usize >= config.vocab_size)
            {
                return Err(bad(
                    format!(
                        "expected token ids below vocab_size {}, found {id} at position {at}",
                        config.vocab_size
                    ),
                    "Use the tokenizer.json that belongs to the model",
                ));
            }
        }
        Ok(())
    }

    /// The same for token types; a model with one type ignores them.
    ///
    /// # Errors
    /// [`ModelError::Input`] with the sample's index.
    pub fn validate_type_ids(&self, type_ids: &[Vec<u32>]) -> Result<(), ModelError> {
        let types = self.config.type_vocab_size;
        let bad = type_ids.iter().enumerate().find_map(|(sample, row)| {
            let value = row.iter().find(|&&t| types > 1 && t as usize >= types)?;
            Some((sample, *value))
        });
        match bad {
            None => Ok(()),
            Some((sample, value)) => Err(ModelError::Input {
                sample,
                detail: format!(
                    "expected token types below type_vocab_size {types}, found {value}"
                ),
                advice: "Use the tokenizer.json that belongs to the model".to_string(),
            }),
        }
    }
}
