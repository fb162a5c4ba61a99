//! Running text in blocks for language models.

use anyhow::{Result, bail};
use burn::tensor::{Device, Int, Tensor, TensorData};
use caldera_models::LanguageBatch;
use caldera_shaders::Lengths;

/// Documents one after the other, cut into blocks of which each token but the first of all is predicted once.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    tokens: Vec<u32>,
    block_length: usize,
    bytes: usize,
}

impl Blocks {
    /// `tokens` of all documents, `bytes` of text behind them. The last block may be shorter.
    ///
    /// # Errors
    /// Fewer than two tokens: nothing to predict.
    pub fn new(tokens: Vec<u32>, block_length: usize, bytes: usize) -> Result<Self> {
        if tokens.len() < 2 {
            bail!(
                "{} tokens of text: expected at least two, one to see and one to predict",
                tokens.len()
            );
        }
        Ok(Self {
            tokens,
            block_length: block_length.max(1),
            bytes,
        })
    }

    /// Blocks.
    pub fn len(&self) -> usize {
        self.predicted().div_ceil(self.block_length.max(1))
    }

    /// Nothing to train or evaluate on.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tokens that are predicted in all blocks together.
    pub fn predicted(&self) -> usize {
        self.tokens.len().saturating_sub(1)
    }

    /// Tokens of a block; the last one may have fewer.
    pub fn block_length(&self) -> usize {
        self.block_length
    }

    /// Bytes of text.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Only the first `blocks` of them, with their share of the bytes.
    pub fn limited(mut self, blocks: usize) -> Self {
        let keep = (blocks * self.block_length + 1).min(self.tokens.len());
        self.bytes = (self.bytes as f64 * keep as f64 / self.tokens.len() as f64).round() as usize;
        self.tokens.truncate(keep);
        self
    }

    /// Tokens of every block.
    pub fn lengths(&self) -> Vec<usize> {
        (0..self.len())
            .map(|block| self.block(block).0.len())
            .collect()
    }

    /// What a model sees of a block, and what comes after each of its tokens.
    pub fn block(&self, block: usize) -> (&[u32], &[u32]) {
        let start = block * self.block_length;
        let end = (start + self.block_length).min(self.tokens.len() - 1);
        (&self.tokens[start..end], &self.tokens[start + 1..end + 1])
    }

    /// Blocks side by side on a device, padded at the right.
    pub fn batch(&self, blocks: &[usize], device: &Device) -> BlockBatch {
        let rows: Vec<_> = blocks.iter().map(|block| self.block(*block)).collect();
        let length = rows.iter().map(|(seen, _)| seen.len()).max().unwrap_or(1);
        let fill = |of: &dyn Fn(usize) -> Vec<i32>| {
            let mut flat = Vec::with_capacity(rows.len() * length);
            for row in 0..rows.len() {
                flat.extend(of(row));
                flat.resize((row + 1) * length, 0);
            }
            Tensor::<2, Int>::from_data(TensorData::new(flat, [rows.len(), length]), device)
        };
        let ids = |tokens: &[u32]| tokens.iter().map(|id| *id as i32).collect();
        BlockBatch {
            input: LanguageBatch {
                input_ids: fill(&|row| ids(rows[row].0)),
                lengths: Lengths::new(rows.iter().map(|(seen, _)| seen.len() as u32).collect()),
            },
            targets: fill(&|row| ids(rows[row].1)),
        }
    }
}

/// Blocks side by side.
#[derive(Clone, Debug)]
pub struct BlockBatch {
    /// What the model sees.
    pub input: LanguageBatch,
    /// The token after each, \[B, L\]; 0 at padded positions.
    pub targets: Tensor<2, Int>,
}

impl BlockBatch {
    /// Rows, and positions with padding.
    pub fn size(&self) -> (usize, usize) {
        let [rows, length] = self.input.input_ids.dims();
        (rows, rows * length)
    }

    /// Tokens that are predicted.
    pub fn predicted(&self) -> usize {
        self.input
            .lengths
            .as_slice()
            .iter()
            .map(|n| *n as usize)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_predicted_once() {
        let blocks = Blocks::new((0..23).collect(), 5, 23).unwrap();
        assert_eq!((blocks.len(), blocks.predicted()), (5, 22));
        assert_eq!(blocks.lengths(), [5, 5, 5, 5, 2]);
        let targets: Vec<u32> = (0..5)
            .flat_map(|block| blocks.block(block).1.to_vec())
            .collect();
        assert_eq!(targets, (1..23).collect::<Vec<_>>());
        let batch = blocks.batch(&[0, 4], &Device::flex());
        assert_eq!(batch.size(), (2, 10));
        assert_eq!(batch.predicted(), 7);
        let ids: Vec<i64> = batch.targets.into_data().iter::<i64>().collect();
        assert_eq!(ids, [1, 2, 3, 4, 5, 21, 22, 0, 0, 0]);
        assert_eq!(blocks.limited(2).predicted(), 10);
        assert!(Blocks::new(vec![1], 5, 1).is_err());
    }
}
