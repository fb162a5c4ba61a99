//! Which product a linear layer runs on the GPU, decided in one place.

/// The ways to multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// `product.wgsl`: tiles of 64 × 64, 8 × 8 values a thread.
    Tiled,
    /// `short.wgsl`: tiles of 16 × 16, one value a thread.
    Short,
    /// Burn's own matrix product, without autotune.
    Burn,
}

/// Rows, or columns, up to which the short product is taken.
const SHORT: usize = 8;

/// The product of an `[m, k]` by a `[k, n]` matrix on the GPU. (The CPU always takes `gemm`.)
///
/// On lavapipe (2 cores, other programs running), shortest of three runs in turns, ms:
///
/// | m × n × k | tiled | short | Burn |
/// |---|---|---|---|
/// | 512 × 384 × 384, x Wᵀ | 524 | | 447 |
/// | 512 × 384 × 384, dY W | 556 | | 420 |
/// | 384 × 384 × 512, dYᵀ x | 670 | | 693 |
/// | 512 × 1536 × 384, x Wᵀ | 3026 | | 2149 |
/// | 32 × 384 × 384, x Wᵀ | 104 | 532 | 87 |
/// | 4 × 2 × 384, x Wᵀ | 4.2 | 2.7 | 4.1 |
///
/// So Burn's product runs everywhere but for a classifier's few values, which short tiles share out better. The tiled
/// product is kept, tested, beside it, because no hardware GPU was at hand: `cargo test --release -p caldera-shaders
/// products_on_the_gpu -- --ignored --nocapture` prints this table anew; where tiles win, change this function.
pub fn select(m: usize, n: usize, _k: usize) -> Product {
    if m.min(n) <= SHORT {
        Product::Short
    } else {
        Product::Burn
    }
}
