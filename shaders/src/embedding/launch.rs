//! The lookup on the GPU.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

use crate::launch::{Kernel, contiguous, empty};
use crate::sixteen_bit::Stored;

const THREADS: u32 = 64;
const ROWS: &str = concat!(
    include_str!("../sixteen_bit/unpack.wgsl"),
    include_str!("rows.wgsl")
);

/// Rows `ids` `[B, L]` of `table` `[rows, width]`, the width a multiple of four.
pub(super) fn forward(table: CubeTensor, ids: CubeTensor) -> CubeTensor {
    let (table, ids) = (contiguous(table), contiguous(ids));
    let width = table.meta.shape()[1];
    let [batch, length] = [ids.meta.shape()[0], ids.meta.shape()[1]];
    let found = empty(&table, [batch, length, width]);
    let fours = batch * length * width / 4;
    let stored = Stored::of(&table);
    Kernel::new("embedding", ROWS, THREADS)
        .reads(&[DType::F16, DType::BF16, DType::I32])
        .set("four", stored.four())
        .set("unpack", stored.unpack())
        .launch(
            &[&table, &ids, &found],
            &[(batch * length) as u32, (width / 4) as u32],
            fours.div_ceil(THREADS as usize),
        );
    found
}
