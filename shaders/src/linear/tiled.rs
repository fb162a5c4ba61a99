//! What the tiled products have in common, whatever they multiply.

use burn_cubecl::tensor::CubeTensor;

use crate::launch::Kernel;

/// 64 × 64 values of the result by a workgroup.
pub(crate) const WGSL: &str = include_str!("product.wgsl");
/// Invocations of a workgroup.
pub(crate) const THREADS: u32 = 64;
/// Rows and columns of a workgroup's tile.
const TILE: usize = 64;

/// Workgroups of an `[m, n]` result.
pub(crate) fn groups(m: usize, n: usize) -> usize {
    m.div_ceil(TILE) * n.div_ceil(TILE)
}

/// Lets consecutive threads read along the dimension in which an operand's values are neighbours: the depth, or with
/// `transposed` the rows of A; the depth of a transposed B, else its columns.
pub(crate) fn order(kernel: Kernel, a_transposed: bool, b_transposed: bool) -> Kernel {
    along(kernel, a_transposed, b_transposed).workgroup_memory(2 * 272 * 16 + 16)
}

/// The same for a kernel with tiles of another size.
pub(super) fn along(kernel: Kernel, a_transposed: bool, b_transposed: bool) -> Kernel {
    let along = |contiguous| {
        if contiguous { "i % 16u" } else { "i / 16u" }
    };
    kernel
        .set("a_four", along(a_transposed))
        .set("a_depth", along(!a_transposed))
        .set("b_four", along(!b_transposed))
        .set("b_depth", along(b_transposed))
}

/// Launches a product `[a, b, c]`; `added` is the element of the bias that a column gets.
pub(crate) fn launch(
    kernel: Kernel,
    [a, b, c]: [&CubeTensor; 3],
    bias: Option<&CubeTensor>,
    added: &str,
    info: &[u32],
    groups: usize,
) {
    match bias {
        Some(bias) => kernel
            .set(
                "bias_binding",
                "@group(0) @binding(3) var<storage, read_write> bias: array<f32>; // (n), for each matrix that needs its own",
            )
            .set("bias", format!(" + {added}"))
            .set("info_binding", 4)
            .launch(&[a, b, c, bias], info, groups),
        None => kernel
            .set("bias_binding", "")
            .set("bias", "")
            .set("info_binding", 3)
            .launch(&[a, b, c], info, groups),
    }
}
