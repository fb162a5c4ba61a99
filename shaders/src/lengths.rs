//! Lengths of the samples of a right-padded batch.

use std::sync::Arc;

/// A shape that an operator cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The mask of a sample is not ones followed by zeros.
    #[error(
        "attention_mask, sample {sample}: expected ones followed by zeros (padding at the right), found {found} at position {position}; \
         pad every sample at its right end and mark real positions with 1, padding with 0"
    )]
    Mask {
        /// Row of the batch.
        sample: usize,
        /// Column at which the pattern breaks.
        position: usize,
        /// The value there.
        found: i64,
    },
    /// The mask holds another number of values than batch times length.
    #[error("attention_mask: expected {batch} x {len} = {} values, found {found}", batch * len)]
    MaskSize {
        /// Samples expected.
        batch: usize,
        /// Positions expected.
        len: usize,
        /// Values found.
        found: usize,
    },
    /// A sample is longer than the projection has rows.
    #[error(
        "linformer_attention, sample {sample}: {length} positions, but the projections have {max_len} rows; \
         truncate the text to {max_len} tokens or convert the model with a larger max_position_embeddings"
    )]
    TooLong {
        /// Row of the batch.
        sample: usize,
        /// Its length.
        length: usize,
        /// Rows of the projections.
        max_len: usize,
    },
    /// A label of a CTC target is no class, or the blank.
    #[error(
        "ctc_loss, sample {sample}: label {label} at position {position} of the target, expected a label below {classes} other than \
         the blank {blank}; encode the text with the vocabulary of the model"
    )]
    Label {
        /// Row of the batch.
        sample: usize,
        /// Position in its target.
        position: usize,
        /// The label.
        label: u32,
        /// Classes of the logits.
        classes: usize,
        /// The blank.
        blank: u32,
    },
    /// A tensor's shape does not fit the others.
    #[error("{operator}: {tensor} expected {expected}, found {found:?}")]
    Tensor {
        /// The operator that refuses it.
        operator: &'static str,
        /// Name of the argument.
        tensor: &'static str,
        /// What would have fitted.
        expected: String,
        /// Shape of the argument.
        found: Vec<usize>,
    },
}

/// Number of real (unpadded) positions of each sample of a right-padded batch. Host side, cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lengths(Arc<[u32]>);

impl Lengths {
    /// A batch without padding.
    pub fn full(batch: usize, len: usize) -> Self {
        Self(vec![len as u32; batch].into())
    }

    /// One length a sample.
    pub fn new(lengths: Vec<u32>) -> Self {
        Self(lengths.into())
    }

    /// Reads a mask `[batch, len]` of ones (real) followed by zeros (padding).
    ///
    /// # Errors
    /// When the number of values is not `batch * len` or a row is anything else than ones followed by zeros.
    pub fn from_mask(mask: &[i64], batch: usize, len: usize) -> Result<Self, ShapeError> {
        if mask.len() != batch * len {
            return Err(ShapeError::MaskSize {
                batch,
                len,
                found: mask.len(),
            });
        }
        let mut lengths = Vec::with_capacity(batch);
        for sample in 0..batch {
            let row = &mask[sample * len..(sample + 1) * len];
            let real = row.iter().take_while(|&&value| value == 1).count();
            if let Some(offset) = row[real..].iter().position(|&value| value != 0) {
                let position = real + offset;
                return Err(ShapeError::Mask {
                    sample,
                    position,
                    found: row[position],
                });
            }
            lengths.push(real as u32);
        }
        Ok(Self::new(lengths))
    }

    /// The length of each sample.
    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }

    /// Number of samples.
    pub fn batch(&self) -> usize {
        self.0.len()
    }

    /// The longest sample, 0 for an empty batch.
    pub fn max(&self) -> usize {
        self.0.iter().copied().max().unwrap_or(0) as usize
    }

    /// The mask `[batch, len]`, row by row: 1 for real positions, 0 for padding.
    pub fn mask(&self, len: usize) -> Vec<f32> {
        let mut mask = Vec::with_capacity(self.batch() * len);
        for &length in self.as_slice() {
            mask.extend(
                (0..len).map(|position| if position < length as usize { 1.0 } else { 0.0 }),
            );
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mask_gives_its_lengths_back(lengths in prop::collection::vec(0u32..20, 1..6), extra in 0usize..4) {
            let lengths = Lengths::new(lengths);
            let len = lengths.max() + extra;
            let mask: Vec<i64> = lengths.mask(len).iter().map(|&x| x as i64).collect();
            prop_assert_eq!(Lengths::from_mask(&mask, lengths.batch(), len), Ok(lengths));
        }
    }

    #[test]
    fn a_mask_with_a_hole_names_the_sample_and_the_position() {
        let error = Lengths::from_mask(&[1, 1, 0, 1, 0, 1], 2, 3).unwrap_err();
        assert_eq!(
            error,
            ShapeError::Mask {
                sample: 1,
                position: 2,
                found: 1
            }
        );
        let left_padded = Lengths::from_mask(&[0, 1, 1], 1, 3).unwrap_err();
        assert!(
            left_padded.to_string().contains("sample 0"),
            "{left_padded}"
        );
        assert!(matches!(
            Lengths::from_mask(&[1; 5], 2, 3),
            Err(ShapeError::MaskSize { found: 5, .. })
        ));
    }
}
