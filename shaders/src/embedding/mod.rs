//! Rows of a table by their numbers, where the table may be stored in 16 bits.

mod launch;
#[cfg(test)]
mod tests;

use burn::backend::ops::ModuleOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, Flex, backend_extension};
use burn::tensor::{Int, IntDType, Tensor, module};
use burn_cubecl::CubeBackend;

use crate::sixteen_bit::{WidenOps, is_sixteen_bit, widen};

/// Rows `ids` `[B, L]` of `table` `[rows, width]`, as `[B, L, width]` of f32: torch.nn.Embedding.
///
/// A table of 16-bit floats whose width is a multiple of four is unpacked where it is read, other ones are widened first; neither gets
/// a gradient. A table of f32 takes Burn's own lookup, with its gradient. `ids` must be below the number of rows.
pub fn embedding(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    if !is_sixteen_bit(table.dtype()) {
        return module::embedding(table, ids);
    }
    let ids = ids.without_autodiff().cast(IntDType::I32);
    if !table.dims()[1].is_multiple_of(4) || ids.dims().contains(&0) {
        return module::embedding(widen(table), ids);
    }
    let table = table.without_autodiff().into_dispatch();
    Tensor::from_dispatch(Dispatch::packed_embedding(table, ids.into_dispatch()))
}

/// The lookup in 16 bits as an operation of the dispatching backend; called through [`embedding`].
#[backend_extension(Cube, Flex)]
pub trait PackedEmbeddingOps: Backend {
    /// Rows of a table of 16-bit floats, as f32.
    fn packed_embedding(table: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self>;
}

impl PackedEmbeddingOps for CubeBackend {
    fn packed_embedding(table: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        launch::forward(table, ids)
    }
}

impl PackedEmbeddingOps for Flex {
    fn packed_embedding(table: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self> {
        let rows = <Self as ModuleOps<Self>>::embedding(table, ids);
        Self::fused_widen(rows)
    }
}
