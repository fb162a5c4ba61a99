//! What the tiled products have in common, whatever they multiply.

use burn_cubecl::tensor::CubeTensor;

use crate::launch::Kernel;
use crate::sixteen_bit::{SIXTEEN_BIT, Stored};
use crate::tuning::Tuning;

/// A square tile of the result by a workgroup.
const WGSL: &str = concat!(
    include_str!("../sixteen_bit/unpack.wgsl"),
    include_str!("product.wgsl")
);
/// Invocations of a workgroup, 8 x 8.
const THREADS: u32 = 64;

/// How an operand lies in memory.
pub(crate) struct Layout {
    /// Index of the element of a `row` (of B: `column`) and a `depth`, in WGSL.
    pub(crate) index: String,
    /// What its neighbours in memory differ in.
    pub(crate) along: Along,
    /// Whether four neighbours from a multiple of four on always are a vector: they are fetched as one.
    pub(crate) fours: bool,
    /// Type of its values; those of 16 bits come in fours.
    pub(crate) stored: Stored,
}

/// What neighbours in memory differ in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Along {
    Depth,
    /// Rows of A, or columns of B.
    Rows,
}

/// Rows, and columns, of a workgroup's tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tile {
    /// 32 x 32, 4 x 4 values a thread.
    Small,
    /// 64 x 64, 8 x 8 values a thread.
    Large,
}

impl Tile {
    /// Large tiles fetch half as much, small ones share few values out among more workgroups: hardware wants some two hundred
    /// at work. A software adapter runs one after the other, so there only rows that a large tile would waste count.
    pub(crate) fn select(like: &CubeTensor, matrices: usize, m: usize, n: usize) -> Self {
        let small = match Tuning::of(like) {
            Tuning::Software => m <= 32,
            Tuning::Hardware => matrices * Self::Large.count(m, n) < 200,
        };
        if small { Self::Small } else { Self::Large }
    }

    fn size(self) -> usize {
        match self {
            Self::Small => 32,
            Self::Large => 64,
        }
    }

    fn count(self, m: usize, n: usize) -> usize {
        m.div_ceil(self.size()) * n.div_ceil(self.size())
    }
}

/// A product of `[m, k]` by `[k, n]` for each of `matrices`, as one launch.
pub(crate) struct Tiled {
    /// Appears in errors.
    pub(crate) name: &'static str,
    pub(crate) tile: Tile,
    pub(crate) a: Layout,
    pub(crate) b: Layout,
    /// Number of products, in WGSL, and as a number.
    pub(crate) matrices: (&'static str, usize),
}

impl Tiled {
    /// Launches it on `[a, b, c]`; `bias` comes with the index of the element that a column gets. `info` begins with m, n, k.
    pub(crate) fn launch(
        &self,
        [a, b, c]: [&CubeTensor; 3],
        bias: Option<(&CubeTensor, &str)>,
        info: &[u32],
    ) {
        let size = self.tile.size();
        // 64 threads bring a block of 4 x 4 each: 32 x 32 or 64 x 16 of an operand.
        let fours = 256 / size;
        let mut kernel = Kernel::new(self.name, WGSL, THREADS)
            .reads(SIXTEEN_BIT)
            .set("tile", size)
            .set("rows", size / 8)
            .set("fours", fours)
            .set("matrices", self.matrices.0)
            .workgroup_memory(2 * size * (fours + 1) * 16 + 16);
        for (layout, names) in [
            (
                &self.a,
                [
                    "a_type", "a_width", "a_index", "a_bring", "a_stored", "a_unpack",
                ],
            ),
            (
                &self.b,
                [
                    "b_type", "b_width", "b_index", "b_bring", "b_stored", "b_unpack",
                ],
            ),
        ] {
            let (kind, width, stored) = match layout.fours {
                true => ("vec4<f32>", 4, layout.stored.four()),
                false => ("f32", 1, "f32"),
            };
            let values = [
                kind.to_string(),
                width.to_string(),
                layout.index.clone(),
                bring(&names[0][..1], layout),
                stored.to_string(),
                layout.stored.unpack().to_string(),
            ];
            for (name, value) in names.into_iter().zip(values) {
                kernel = kernel.set(name, value);
            }
        }
        let shape = [info[0] as usize, info[1] as usize];
        let groups = self.matrices.1 * self.tile.count(shape[0], shape[1]);
        launch_biased(kernel, [a, b, c], bias, info, groups);
    }
}

/// Launches a product on `[a, b, c]` with the bias, where there is one, bound behind them; `index` is that of the element
/// that a column gets.
pub(super) fn launch_biased(
    kernel: Kernel,
    [a, b, c]: [&CubeTensor; 3],
    bias: Option<(&CubeTensor, &str)>,
    info: &[u32],
    groups: usize,
) {
    match bias {
        Some((bias, index)) => kernel
            .set(
                "bias_binding",
                "@group(0) @binding(3) var<storage, read_write> bias: array<f32>; // (n), for each matrix that needs its own",
            )
            .set("bias", format!("bias[{index}]"))
            .set("info_binding", 4)
            .launch(&[a, b, c, bias], info, groups),
        None => kernel
            .set("bias_binding", "")
            .set("bias", "0.0")
            .set("info_binding", 3)
            .launch(&[a, b, c], info, groups),
    }
}

/// The function that brings a step of an operand into its tile; neighbouring threads read along the operand's memory.
fn bring(operand: &str, layout: &Layout) -> String {
    let template = if layout.fours {
        include_str!("bring_vectors.wgsl")
    } else {
        include_str!("bring_values.wgsl")
    };
    let along = |kind| u8::from(layout.along == kind).to_string();
    template
        .replace("{{ operand }}", operand)
        .replace("{{ threads }}", &THREADS.to_string())
        .replace("{{ along_depth }}", &along(Along::Depth))
        .replace("{{ along_rows }}", &along(Along::Rows))
}
