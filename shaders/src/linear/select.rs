//! Which product a linear layer runs, decided in one place.

/// The ways to multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// `product.wgsl`: tiles of 64 × 64.
    Tiled,
    /// `short.wgsl`: tiles of 16 × 16.
    Short,
    /// Burn's own matrix product.
    Burn,
}

/// Rows up to which the short product is taken.
const SHORT_ROWS: usize = 32;

/// The product of an `[m, k]` by a `[k, n]` matrix on the GPU.
///
/// Burn's matmul without autotune (which stalls browsers) is behind our tiles wherever it was measured (see
/// `docs/results.md`), so it is the named alternative only. With at most 32 rows, or columns, more than half of a
/// 64 × 64 tile would be padding and few workgroups would share the weight: small tiles then. The CPU always takes
/// `gemm`, which packs and tiles for the cache itself.
pub fn select(m: usize, n: usize, _k: usize) -> Product {
    if m.min(n) <= SHORT_ROWS {
        Product::Short
    } else {
        Product::Tiled
    }
}
