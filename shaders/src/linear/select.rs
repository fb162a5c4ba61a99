//! Which product a linear layer runs on the GPU, decided in one place.

use std::sync::OnceLock;

use crate::environment::{UnknownChoice, chosen};

/// Variable of the environment that [`select`] reads: `tiled` or `burn` takes that product where there are more than a few rows and
/// columns, whatever the target.
pub const PRODUCT: &str = "CALDERA_PRODUCT";

/// The ways to multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// `product.wgsl`: square tiles of 64 or 32, 8 × 8 or 4 × 4 values a thread.
    Tiled,
    /// `dots.wgsl`: 8 threads a row of the larger operand, at most 8 rows of the other.
    Dots,
    /// `short.wgsl`: tiles of 16 × 16, one value a thread.
    Short,
    /// Burn's own matrix product, without autotune.
    Burn,
}

impl Product {
    /// What the environment names.
    pub(crate) fn named() -> Result<Option<Self>, UnknownChoice> {
        chosen(PRODUCT, &[("tiled", Self::Tiled), ("burn", Self::Burn)])
    }

    /// The same, read once.
    pub(super) fn forced() -> Option<Self> {
        static NAMED: OnceLock<Option<Product>> = OnceLock::new();
        *NAMED.get_or_init(|| Self::named().ok().flatten())
    }
}

/// Rows, or columns, up to which the products for few are taken; `dots.wgsl` has no room for more.
const FEW: usize = 8;

/// The product of an `[m, k]` by a `[k, n]` matrix on the GPU. (The CPU has its products in `product`.)
///
/// On lavapipe (2 cores, other programs running), shortest of three runs in turns, ms:
///
/// | m × n × k | tiled | short | Burn | dots |
/// |---|---|---|---|---|
/// | 512 × 384 × 384, x Wᵀ | 180 | | 168 | |
/// | 512 × 384 × 384, dY W | 180 | | 131 | |
/// | 384 × 384 × 512, dYᵀ x | 194 | | 178 | |
/// | 512 × 1536 × 384, x Wᵀ | 752 | | 546 | |
/// | 32 × 384 × 384, x Wᵀ | 21 | 110 | 21 | |
/// | 4 × 2 × 384, x Wᵀ | 2.2 | 2.6 | 7.5 | 0.5 |
/// | 1 × 1536 × 384, x Wᵀ | 110 | 327 | 18 | 8.5 |
/// | 2048 × 2 × 384, x Wᵀ | 116 | 348 | 87 | 17 |
///
/// In Chromium on SwiftShader Burn's product takes some ten times as long as the tiled one (MiniLM, 64 tokens: 7.3 s of 7.7 s;
/// `tests/compare/onnxruntime_web.mjs --profile`). So the page takes the tiled one and native programs Burn's; few rows or columns
/// have products of their own. No hardware GPU was at hand: `cargo test --release -p caldera-shaders products_on_the_gpu --
/// --ignored --nocapture` prints this table anew; where tiles win, change this function; [`PRODUCT`] tries either in a whole model.
///
/// `along_depth` says that both operands lie with their depth side by side, as in x Wᵀ.
pub fn select([m, n, k]: [usize; 3], along_depth: bool) -> Product {
    if m.min(n) <= FEW && along_depth && k.is_multiple_of(4) {
        Product::Dots
    } else if m.min(n) <= FEW {
        Product::Short
    } else if let Some(forced) = Product::forced() {
        forced
    } else if cfg!(target_family = "wasm") {
        Product::Tiled
    } else {
        Product::Burn
    }
}
