//! Token ids in batches: texts encoded once, batches of similar length, an order that follows from seed and epoch alone.

mod blocks;
mod order;
mod run;
mod schedule;
mod time_mask;

pub use blocks::{BlockBatch, Blocks};
pub(crate) use order::Random;
pub use order::{BatchLimits, epoch_batches, mix};
pub use run::RunBatches;
pub use schedule::BatchSchedule;
pub use time_mask::{TimeMask, time_mask};

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::{Device, Int, Tensor, TensorData};
use caldera_models::{TextBatch, TextConfig, TextTokenizer};
use caldera_shaders::Lengths;

use crate::data::Example;

/// One example as the model takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids, special ones included; never empty.
    pub ids: Vec<u32>,
    /// Which text each token belongs to.
    pub type_ids: Vec<u32>,
    /// Number of the label, where there is one.
    pub label: Option<usize>,
}

/// A tokenizer and what the model asks of it.
#[derive(Clone, Debug)]
pub struct Encoder {
    tokenizer: TextTokenizer,
    max_length: usize,
    type_vocab_size: usize,
}

impl Encoder {
    /// The tokenizer of a model folder, with sequences as long as the model or `max_length` allows.
    ///
    /// # Errors
    /// No usable `tokenizer.json`, one that gives ids which the model does not have, or a `max_length` beyond the model's.
    pub fn load(dir: &Path, config: &TextConfig, max_length: Option<usize>) -> Result<Self> {
        let tokenizer = TextTokenizer::load(dir)?;
        tokenizer.check_vocab(config.vocab_size)?;
        let most = config.max_length();
        if let Some(asked) = max_length.filter(|asked| *asked > most) {
            anyhow::bail!(
                "data.max_length = {asked}: {} has positions for {most} tokens; lower it",
                dir.display()
            );
        }
        Ok(Self {
            tokenizer,
            max_length: max_length.unwrap_or(most),
            type_vocab_size: config.type_vocab_size,
        })
    }

    /// Fills batches up.
    pub fn pad_token_id(&self) -> u32 {
        self.tokenizer.pad_token_id()
    }

    /// Encodes examples, in their order.
    ///
    /// # Errors
    /// Where the tokenizer refuses a text; the message says which example.
    pub fn encode(&self, examples: &[Example]) -> Result<Vec<Encoded>> {
        examples
            .iter()
            .enumerate()
            .map(|(index, example)| {
                let encoding = self
                    .tokenizer
                    .encode(&example.text, example.pair.as_deref(), self.max_length)
                    .with_context(|| format!("example {}", index + 1))?;
                let (mut ids, mut type_ids) = (encoding.ids, encoding.type_ids);
                if ids.is_empty() {
                    ids.push(self.pad_token_id());
                    type_ids.push(0);
                }
                // A model with one row of token types (RoBERTa) takes no others.
                for id in &mut type_ids {
                    *id = (*id).min(self.type_vocab_size.saturating_sub(1) as u32);
                }
                Ok(Encoded {
                    ids,
                    type_ids,
                    label: example.label,
                })
            })
            .collect()
    }
}

/// Examples side by side on a device.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What the model takes.
    pub input: TextBatch,
    /// Label of every row.
    pub labels: Vec<Option<usize>>,
}

impl Batch {
    /// Puts rows together, padded at the right to the longest, or further to a multiple of `multiple`.
    pub fn new(rows: &[&Encoded], pad_token_id: u32, multiple: usize, device: &Device) -> Self {
        let longest = rows.iter().map(|row| row.ids.len()).max().unwrap_or(1);
        let length = longest.next_multiple_of(multiple.max(1));
        let fill = |pad: u32, of: &dyn Fn(&Encoded) -> &[u32]| {
            let mut flat = Vec::with_capacity(rows.len() * length);
            for row in rows {
                let end = flat.len() + length;
                flat.extend(of(row).iter().map(|id| *id as i32));
                flat.resize(end, pad as i32);
            }
            Tensor::<2, Int>::from_data(TensorData::new(flat, [rows.len(), length]), device)
        };
        let typed = rows
            .iter()
            .any(|row| row.type_ids.iter().any(|id| *id != 0));
        Self {
            input: TextBatch {
                input_ids: fill(pad_token_id, &|row| &row.ids),
                token_type_ids: typed.then(|| fill(0, &|row| &row.type_ids)),
                lengths: Lengths::new(rows.iter().map(|row| row.ids.len() as u32).collect()),
            },
            labels: rows.iter().map(|row| row.label).collect(),
        }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Without rows.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Positions, padding included.
    pub fn positions(&self) -> usize {
        self.len() * self.input.length()
    }
}
