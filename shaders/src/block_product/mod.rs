//! The tiled product that the kernels over chunks and samples are written around: `product.wgsl`, with what it asks of the text before
//! it. Its users differ in what they multiply and in where the results go. (The linear layer has a product of its own, whose
//! operands are read as vectors: `linear`.)

use crate::launch::Kernel;

/// Invocations of a workgroup, 8 x 8.
pub(crate) const THREADS: u32 = 64;
/// Rows, or columns, of a block of results; a workgroup takes one or two either way.
pub(crate) const TILE: usize = 32;
/// Terms of the sum that lie in workgroup memory at a time.
const STEP: usize = 16;

/// What lies side by side in a matrix' memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Along {
    /// Rows of the left matrix, columns of the right one.
    Results,
    /// Terms of the sum.
    Terms,
}

impl Along {
    /// How blocks of four rows (or columns), `count` of them, and the terms are dealt out to neighbouring invocations, in WGSL.
    fn dealt(self, count: &str) -> [String; 2] {
        match self {
            Self::Results => [format!("at % {count}"), format!("at / {count}")],
            Self::Terms => ["at / STEP".to_owned(), "at % STEP".to_owned()],
        }
    }
}

/// A product of `blocks` (down, across) of 32 x 32 results by a workgroup.
pub(crate) struct BlockProduct {
    pub(crate) blocks: [usize; 2],
    /// Of the left and the right matrix.
    pub(crate) along: [Along; 2],
    /// How many products are added up.
    pub(crate) parts: usize,
    /// Whether the left matrix' terms are summed with weights beside it.
    pub(crate) weighted: bool,
}

impl BlockProduct {
    /// 64 x 64 results by one product.
    pub(crate) fn square(along: [Along; 2]) -> Self {
        Self {
            blocks: [2, 2],
            along,
            parts: 1,
            weighted: false,
        }
    }

    /// The kernel of a `template` that ends in `product.wgsl` and takes `plan` bytes for the plan of a group.
    pub(crate) fn kernel(&self, name: &'static str, template: &'static str, plan: usize) -> Kernel {
        let [a_four, a_step] = self.along[0].dealt("HIGH");
        let [b_four, b_step] = self.along[1].dealt("WIDE");
        Kernel::new(name, template, THREADS)
            .set("row_blocks", self.blocks[0])
            .set("column_blocks", self.blocks[1])
            .set("parts", self.parts)
            .set("weighted", u8::from(self.weighted))
            .set("a_four", a_four)
            .set("a_step", a_step)
            .set("b_four", b_four)
            .set("b_step", b_step)
            .set("after", "")
            .workgroup_memory(self.memory() + plan)
    }

    /// Bytes of its tiles and weights.
    pub(crate) fn memory(&self) -> usize {
        let tiles: usize = self.blocks.iter().map(|blocks| 8 * blocks + 1).sum();
        16 * STEP * tiles + 4 * STEP
    }
}
