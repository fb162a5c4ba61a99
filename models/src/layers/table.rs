//! Tables with a row for every token, in blocks of rows: WebGPU binds 128 MiB at most, and the table of a small
//! Pythia is already larger.

use burn::tensor::{Device, Int, Tensor};
use caldera_shaders::{embedding, linear};

use super::{ParameterMut, ParameterRef, Walk};

/// The largest storage buffer binding that every WebGPU device has (`maxStorageBufferBindingSize`), in bytes.
pub const BINDING_BYTES: usize = 128 << 20;

/// A table [rows, width] in blocks of rows, none of them empty.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    blocks: Vec<Tensor<2>>,
}

impl Table {
    /// # Panics
    /// Without a block.
    pub fn new(blocks: Vec<Tensor<2>>) -> Self {
        assert!(!blocks.is_empty(), "table: expected blocks, found none");
        Self { blocks }
    }

    /// Rows of each block of a table [rows, width] of f32, so that none is larger than `bytes`; as even as can
    /// be, and one row a block at least.
    pub fn block_rows(rows: usize, width: usize, bytes: usize) -> Vec<usize> {
        let most = (bytes / (width * size_of::<f32>()).max(1)).max(1);
        let blocks = rows.div_ceil(most).max(1);
        (0..blocks)
            .map(|i| (i + 1) * rows / blocks - i * rows / blocks)
            .collect()
    }

    /// The device of its values.
    pub fn device(&self) -> Device {
        self.blocks[0].device()
    }

    /// Whether gradients are recorded for it.
    pub fn is_tracked(&self) -> bool {
        self.blocks[0].is_tracked()
    }

    /// Rows of ids [B, L] as [B, L, width].
    ///
    /// Ids must be below the number of rows.
    pub fn look_up(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        if let [whole] = self.blocks.as_slice() {
            return embedding(whole.clone(), ids);
        }
        let [b, l] = ids.dims();
        let mut first = 0;
        let parts = self.blocks.iter().map(|block| {
            let [rows, width] = block.dims();
            let local = ids.clone().sub_scalar(first as i64);
            first += rows;
            let last = rows as i64 - 1;
            let elsewhere = local
                .clone()
                .lower_elem(0)
                .bool_or(local.clone().greater_elem(last));
            let found = embedding(block.clone(), local.clamp(0, last));
            found.mask_fill(elsewhere.reshape([b, l, 1]).expand([b, l, width]), 0.0)
        });
        parts
            .reduce(|sum, part| sum + part)
            .expect("a table has a block")
    }

    /// x Wᵀ: [.., width] to [.., rows].
    pub fn project<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        if let [whole] = self.blocks.as_slice() {
            return linear(x, whole.clone(), None);
        }
        let parts = self.blocks.iter();
        let parts = parts.map(|block| linear(x.clone(), block.clone(), None));
        Tensor::cat(parts.collect(), D - 1)
    }
}

/// The name of the table that a block's name belongs to.
pub(crate) fn whole(name: &str) -> &str {
    name.split('[').next().unwrap_or(name)
}

/// The name of a block that holds the rows `first..end`; the table's own where it is the only one.
fn block_name(name: &str, blocks: usize, first: usize, end: usize) -> String {
    match blocks {
        1 => name.to_string(),
        _ => format!("{name}[{first}..{end}]"),
    }
}

impl Walk for Table {
    fn walk(&self, name: &str, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
        let mut first = 0;
        for block in &self.blocks {
            let end = first + block.dims()[0];
            let name = block_name(name, self.blocks.len(), first, end);
            visit(&name, ParameterRef::Two(block));
            first = end;
        }
    }
    fn walk_mut(&mut self, name: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        let mut first = 0;
        let blocks = self.blocks.len();
        for block in &mut self.blocks {
            let end = first + block.dims()[0];
            visit(
                &block_name(name, blocks, first, end),
                ParameterMut::Two(block),
            );
            first = end;
        }
    }
}
