//! A batch of token ids, padded at the right.

use burn::tensor::{Device, Int, Tensor, TensorData};
use caldera_shaders::Lengths;

/// Token ids on a device, padded at the right to the longest sample.
#[derive(Debug, Clone)]
pub struct TextBatch {
    /// [B, L]
    pub input_ids: Tensor<2, Int>,
    /// [B, L]; None where all are 0.
    pub token_type_ids: Option<Tensor<2, Int>>,
    /// Length of each sample.
    pub lengths: Lengths,
}

impl TextBatch {
    /// Pads samples at the right with `pad_token_id` (type ids with 0) and puts them on `device`.
    ///
    /// Ids are not checked here: see [`TextModel::validate`](super::TextModel::validate). Type ids that are
    /// all 0 are left out. A sample's type ids are cut or filled up with 0 to its length.
    pub fn new(
        ids: &[Vec<u32>],
        type_ids: Option<&[Vec<u32>]>,
        pad_token_id: u32,
        device: &Device,
    ) -> Self {
        // A tensor needs a column even where every sample is empty.
        let longest = ids.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let shape = [ids.len(), longest];
        let pad = |rows: &mut dyn Iterator<Item = (&[u32], usize)>, padding: i64| {
            let mut flat = Vec::with_capacity(shape[0] * longest);
            for (row, length) in rows {
                let end = flat.len() + longest;
                flat.extend(row.iter().take(length).map(|&id| id as i64));
                flat.resize(end, padding);
            }
            Tensor::<2, Int>::from_data(TensorData::new(flat, shape), device)
        };
        let input_ids = pad(
            &mut ids.iter().map(|row| (row.as_slice(), row.len())),
            pad_token_id as i64,
        );
        let token_type_ids = type_ids
            .filter(|rows| rows.iter().flatten().any(|&t| t != 0))
            .map(|rows| {
                let none: &[u32] = &[];
                let rows = |i: usize| rows.get(i).map_or(none, Vec::as_slice);
                pad(
                    &mut ids.iter().enumerate().map(|(i, row)| (rows(i), row.len())),
                    0,
                )
            });
        let lengths = Lengths::new(ids.iter().map(|row| row.len() as u32).collect());
        Self {
            input_ids,
            token_type_ids,
            lengths,
        }
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
