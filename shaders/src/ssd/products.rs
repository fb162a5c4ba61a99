//! The kernels of the scan of Mamba-2 that are products over chunks, by one template, and those beside them.

use burn_cubecl::tensor::CubeTensor;

use super::{CHUNK, LEAST_EXPONENT, Parts, Sizes};
use crate::block_product::{Along, BlockProduct, THREADS};
use crate::launch::{Kernel, empty};

/// Rows and columns of a workgroup's results; the kernels also rely on it being a chunk.
pub(super) const TILE: usize = CHUNK;
/// Bytes of a plan.
const PLAN: usize = 72;
/// The partial sums of dots.wgsl.
const DOTS_MEMORY: usize = 512 * 4;
/// WGSL of softplus and its derivative.
pub(super) const SOFTPLUS: &str = include_str!("softplus.wgsl");

const STEPS: &str = concat!(include_str!("position.wgsl"), include_str!("steps.wgsl"));
const CARRY: &str = concat!(include_str!("position.wgsl"), include_str!("carry.wgsl"));
const SCORES: &str = concat!(
    include_str!("plan.wgsl"),
    include_str!("rows.wgsl"),
    include_str!("write.wgsl"),
    include_str!("../block_product/product.wgsl")
);
const PRODUCTS: &str = concat!(
    include_str!("position.wgsl"),
    include_str!("plan.wgsl"),
    include_str!("rows.wgsl"),
    include_str!("write.wgsl"),
    include_str!("decays.wgsl"),
    include_str!("../block_product/product.wgsl")
);
const STATES: &str = concat!(
    include_str!("position.wgsl"),
    include_str!("plan.wgsl"),
    include_str!("states.wgsl"),
    include_str!("write.wgsl"),
    include_str!("decays.wgsl"),
    include_str!("../block_product/product.wgsl")
);
const OUTPUT: &str = concat!(
    include_str!("position.wgsl"),
    include_str!("plan.wgsl"),
    include_str!("output.wgsl"),
    include_str!("write.wgsl"),
    include_str!("decays.wgsl"),
    include_str!("../block_product/product.wgsl")
);
const VECTORS: &str = concat!(
    include_str!("position.wgsl"),
    include_str!("plan.wgsl"),
    include_str!("vectors.wgsl"),
    include_str!("write.wgsl"),
    include_str!("decays.wgsl"),
    include_str!("../block_product/product.wgsl")
);
const DOTS: &str = concat!(
    include_str!("plan.wgsl"),
    include_str!("dots.wgsl"),
    include_str!("../block_product/product.wgsl")
);

/// What a product is over; WGSL of the sizes in plan.wgsl.
struct Over<'a> {
    /// Whose chunks: "heads" or "groups".
    owners: &'a str,
    /// Terms of the sum, and of a second one.
    terms: [&'a str; 2],
    rows: &'a str,
    columns: &'a str,
    /// Which chunks are `empty`, a name that the terms may use.
    empty: &'a str,
}

/// No chunk is empty.
const NEVER: &str = "false";
/// Nothing comes into the first chunk, unless a state was given.
const NOTHING_BEFORE: &str = "start == 0u && info[10] == 0u";
/// No gradient comes into the last chunk, because none flows through the final state.
const NOTHING_AFTER: &str = "start + count == len";
/// No gradient of what was before the first chunk is asked for.
const NOT_ASKED: &str = "start == 0u";

impl Over<'_> {
    fn kernel(&self, name: &'static str, template: &'static str, along: [Along; 2]) -> Kernel {
        let product = BlockProduct {
            parts: if self.terms[1] == NONE { 1 } else { 2 },
            ..BlockProduct::square(along)
        };
        product
            .kernel(name, template, PLAN)
            .set("owners", self.owners)
            .set("terms_0", self.terms[0])
            .set("terms_1", self.terms[1])
            .set("rows", self.rows)
            .set("columns", self.columns)
            .set("empty", self.empty)
    }
}

/// No second sum.
const NONE: &str = "0u";

impl Sizes {
    /// Launches a product of `rows` x `columns` results for each chunk of `owners` heads or groups.
    fn launch(
        self,
        kernel: Kernel,
        buffers: &[&CubeTensor],
        owners: usize,
        rows: usize,
        columns: usize,
    ) {
        let (down, right) = (rows.div_ceil(TILE), columns.div_ceil(TILE));
        let workgroups = self.batch * self.chunks() * owners * down * right;
        let info = [
            self.batch,
            self.len,
            self.heads,
            self.width,
            self.groups,
            self.state,
            self.chunks(),
            workgroups,
            down,
            right,
            usize::from(self.given),
        ]
        .map(|size| size as u32);
        kernel
            .set("info", buffers.len())
            .launch(buffers, &info, workgroups);
    }

    /// Shape of the states at the chunks' borders.
    fn states(self) -> [usize; 5] {
        let chunks = self.chunks();
        [self.batch, chunks, self.heads, self.width, self.state]
    }

    /// `[B, L, H, 6]`: see position.wgsl.
    pub(super) fn steps(self, parts: &Parts<CubeTensor>) -> CubeTensor {
        let steps = empty(&parts.dt, [self.batch, self.len, self.heads, 6]);
        let values = self.batch * self.chunks() * self.heads;
        Kernel::new("ssd steps", STEPS, THREADS)
            .set("softplus", SOFTPLUS)
            .set("least", format!("{LEAST_EXPONENT:?}"))
            .launch(
                &[&parts.dt, &parts.a, &parts.dt_bias, &steps],
                &[self.batch, self.len, self.heads, self.chunks()].map(|size| size as u32),
                values.div_ceil(THREADS as usize),
            );
        steps
    }

    /// `[B, chunks, G, 64, 64]`: c_t · b_u.
    pub(super) fn scores(self, parts: &Parts<CubeTensor>) -> CubeTensor {
        let shape = [self.batch, self.chunks(), self.groups, CHUNK, CHUNK];
        let scores = empty(&parts.b, shape);
        let over = Over {
            owners: "groups",
            terms: ["state", NONE],
            rows: "count",
            columns: "count",
            empty: NEVER,
        };
        let kernel = over
            .kernel("ssd scores", SCORES, [Along::Terms; 2])
            .set("shape", "[B, L, G, N]")
            .set("owner", "G")
            .set("own", "p.groups")
            .set("bind_steps", "")
            .set("value", "value");
        let buffers = [&parts.c, &parts.b, &scores];
        self.launch(kernel, &buffers, self.groups, CHUNK, CHUNK);
        scores
    }

    /// `[B, chunks, H, 64, 64]`: dy_t · x_u times the decay from u to t, zero above the diagonal.
    pub(super) fn products(
        self,
        x: &CubeTensor,
        dy: &CubeTensor,
        steps: &CubeTensor,
    ) -> CubeTensor {
        let shape = [self.batch, self.chunks(), self.heads, CHUNK, CHUNK];
        let products = empty(x, shape);
        let over = Over {
            owners: "heads",
            terms: ["width", NONE],
            rows: "count",
            columns: "count",
            empty: NEVER,
        };
        let kernel = over
            .kernel("ssd products", PRODUCTS, [Along::Terms; 2])
            .set("shape", "[B, L, H, P]")
            .set("owner", "H")
            .set("own", "p.heads")
            .set(
                "bind_steps",
                "@group(0) @binding(3) var<storage, read_write> steps: array<Step>; // [B, L, H]",
            )
            // The smaller position first: above the diagonal the exponent would be positive.
            .set(
                "value",
                "select(0.0, value * decay_between(p, p.owner, min(row, column), row), column <= row)",
            );
        let buffers = [dy, x, &products, steps];
        self.launch(kernel, &buffers, self.heads, CHUNK, CHUNK);
        products
    }

    /// What each chunk adds to a state, then the states on entering the chunks, and what is left at last: for the scan itself
    /// or, `backward`, for its gradient, of which only the states are of use.
    pub(super) fn carry(
        self,
        vectors: &CubeTensor,
        rows: &CubeTensor,
        steps: &CubeTensor,
        first: Option<CubeTensor>,
        backward: bool,
    ) -> (CubeTensor, CubeTensor) {
        let states = empty(rows, self.states());
        let (weight, chunk, direction, empty_chunks) = if backward {
            (
                "from_start(p, p.owner, t)",
                "chunks - 1u - i",
                "the last chunk first",
                NOT_ASKED,
            )
        } else {
            (
                "to_state(p, p.owner, t)",
                "i",
                "the first chunk first",
                NEVER,
            )
        };
        let over = Over {
            owners: "heads",
            terms: ["select(count, 0u, empty)", NONE],
            rows: "width",
            columns: "state",
            empty: empty_chunks,
        };
        let kernel = over
            .kernel("ssd states", STATES, [Along::Results; 2])
            .set("weight", weight);
        let buffers = [vectors, rows, steps, &states];
        self.launch(kernel, &buffers, self.heads, self.width, self.state);
        let given = first.is_some();
        let last =
            first.unwrap_or_else(|| empty(rows, [self.batch, self.heads, self.width, self.state]));
        let area = self.width * self.state;
        let info = [
            self.batch,
            self.len,
            self.heads,
            area,
            self.chunks(),
            usize::from(given),
        ];
        Kernel::new("ssd carry", CARRY, THREADS)
            .set("chunk", chunk)
            .set("direction", direction)
            .launch(
                &[&states, steps, &last],
                &info.map(|size| size as u32),
                (self.batch * self.heads * area).div_ceil(THREADS as usize),
            );
        (states, last)
    }

    /// y, or `backward` dx, `[B, L, H, P]`.
    pub(super) fn output(self, buffers: [&CubeTensor; 6], backward: bool) -> CubeTensor {
        let [scores, vectors, states, steps, rows, d] = buffers;
        let result = empty(rows, rows.meta.shape().clone());
        let (what, t, u, weight, empty) = if backward {
            (
                "dx",
                "term",
                "row",
                "to_state(p, p.owner, row)",
                NOTHING_AFTER,
            )
        } else {
            (
                "y",
                "row",
                "term",
                "from_start(p, p.owner, row)",
                NOTHING_BEFORE,
            )
        };
        let over = Over {
            owners: "heads",
            terms: ["count", "select(state, 0u, empty)"],
            rows: "count",
            columns: "width",
            empty,
        };
        let kernel = over
            .kernel("ssd output", OUTPUT, [Along::Terms, Along::Results])
            .set("what", what)
            .set("t", t)
            .set("u", u)
            .set("weight", weight);
        let buffers = [scores, vectors, states, steps, rows, d, &result];
        self.launch(kernel, &buffers, self.heads, CHUNK, self.width);
        result
    }

    /// dc, or with `inner` db, `[B, L, G, N]`.
    pub(super) fn vectors(self, buffers: [&CubeTensor; 5], inner: bool) -> CubeTensor {
        let [products, vectors, states, steps, rows] = buffers;
        let result = empty(vectors, vectors.meta.shape().clone());
        let (what, t, u, weight, empty) = if inner {
            (
                "db",
                "other",
                "row",
                "to_state(p, head, row)",
                NOTHING_AFTER,
            )
        } else {
            (
                "dc",
                "row",
                "other",
                "from_start(p, head, row)",
                NOTHING_BEFORE,
            )
        };
        let over = Over {
            owners: "groups",
            terms: [
                "heads / groups * 64u",
                "select(heads / groups * width, 0u, empty)",
            ],
            rows: "count",
            columns: "state",
            empty,
        };
        let kernel = over
            .kernel("ssd vectors", VECTORS, [Along::Terms, Along::Results])
            .set("what", what)
            .set("t", t)
            .set("u", u)
            .set("weight", weight);
        let buffers = [products, vectors, states, steps, rows, &result];
        self.launch(kernel, &buffers, self.groups, CHUNK, self.state);
        result
    }

    /// Fills half `which` of `dots`: rows[t]ᵀ state vectors[t].
    pub(super) fn dots(self, buffers: [&CubeTensor; 4], which: usize) {
        let what = [
            "dy, the state before the chunk, c",
            "x, the gradient of the state after it, b",
        ];
        let over = Over {
            owners: "heads",
            terms: ["select(width, 0u, empty)", NONE],
            rows: "count",
            columns: "state",
            empty: [NOTHING_BEFORE, NOTHING_AFTER][which],
        };
        let kernel = over
            .kernel("ssd dots", DOTS, [Along::Terms, Along::Results])
            .workgroup_memory(BlockProduct::square([Along::Terms; 2]).memory() + PLAN + DOTS_MEMORY)
            .set("what", what[which])
            .set("which", format!("{which}u"))
            .set("after", "workgroupBarrier();\n  gather(thread, plan);");
        self.launch(kernel, &buffers, self.heads, CHUNK, self.state);
    }
}
