//! The kernels of linear attention that are products: sums of chunks, weights of the pairs inside a chunk, rows of a result.

use burn_cubecl::tensor::CubeTensor;

use crate::Lengths;
use crate::block_product::{Along, BlockProduct, THREADS, TILE};
use crate::launch::{Kernel, empty};

/// Positions of a causal chunk: the rows and columns of a workgroup's weights.
const PAIRS: usize = 2 * TILE;
/// Positions that one workgroup sums where attention is not causal.
const BIDIRECTIONAL_CHUNK: usize = 256;
/// Bytes of a plan.
const PLAN: usize = 44;

const STATES_WGSL: &str = concat!(
    include_str!("plan.wgsl"),
    include_str!("states.wgsl"),
    include_str!("../block_product/product.wgsl")
);
const WEIGHTS_WGSL: &str = concat!(
    include_str!("plan.wgsl"),
    include_str!("weights.wgsl"),
    include_str!("../block_product/product.wgsl")
);
const ROWS_WGSL: &str = concat!(
    include_str!("plan.wgsl"),
    include_str!("rows.wgsl"),
    include_str!("../block_product/product.wgsl")
);

/// Sizes of an attention.
pub(super) struct Sizes<'a> {
    pub(super) batch: usize,
    pub(super) len: usize,
    pub(super) heads: usize,
    pub(super) width: usize,
    causal: bool,
    chunk: usize,
    lengths: &'a Lengths,
}

/// What a workgroup's plan is made of besides the sizes; WGSL.
struct Plan<'a> {
    /// Cells a head, and the tiles of each: down, right.
    cells: [usize; 3],
    /// Positions from one cell to the next.
    positions: &'a str,
    /// Number of the cell's chunk in its head.
    own_chunk: &'a str,
    terms: [&'a str; 2],
}

/// Number of the cell in its head, in the plan.
const OWN_CELL: &str = "cell % info[6]";

impl<'a> Sizes<'a> {
    pub(super) fn of(tensor: &CubeTensor, lengths: &'a Lengths, causal: bool) -> Self {
        let shape = tensor.meta.shape();
        Self {
            batch: shape[0],
            len: shape[1],
            heads: shape[2],
            width: shape[3],
            causal,
            chunk: if causal { PAIRS } else { BIDIRECTIONAL_CHUNK },
            lengths,
        }
    }

    fn chunks(&self) -> usize {
        self.len.div_ceil(self.chunk)
    }

    /// Bytes that a sample takes of the largest tensor between the kernels.
    pub(super) fn bytes_of_a_sample(&self) -> usize {
        let pairs = if self.causal { PAIRS * PAIRS } else { 0 };
        let of_a_chunk = pairs.max((self.width + 1) * self.width);
        4 * self.heads * self.chunks() * of_a_chunk
    }

    /// Blocks of 32 rows or columns of a tile that covers the width.
    fn across(&self) -> usize {
        if self.width > TILE { 2 } else { 1 }
    }

    /// Launches a kernel by its plan.
    fn launch(&self, kernel: Kernel, plan: &Plan<'_>, buffers: &[&CubeTensor]) {
        let [cells, down, right] = plan.cells;
        let groups = self.batch * self.heads * cells * down * right;
        let sizes = [
            self.len,
            self.heads,
            self.width,
            self.chunk,
            self.chunks(),
            groups,
            cells,
            down,
            right,
        ];
        let mut info = sizes.map(|size| size as u32).to_vec();
        info.extend_from_slice(self.lengths.as_slice());
        kernel
            .set("info", buffers.len())
            .set("positions", plan.positions)
            .set("own_chunk", plan.own_chunk)
            .set("terms_0", plan.terms[0])
            .set("terms_1", plan.terms[1])
            .launch(buffers, &info, groups);
    }

    /// Sums over each chunk: features of `a` times `b`, with `stats` times the gradients of the rows. `[B, H, chunks, P + 1, P]`
    pub(super) fn sums(
        &self,
        a: &CubeTensor,
        b: &CubeTensor,
        stats: Option<&CubeTensor>,
    ) -> CubeTensor {
        let (heads, width) = (self.heads, self.width);
        let states = empty(a, [self.batch, heads, self.chunks(), width + 1, width]);
        let (name, a_shape, b_shape) = match stats {
            None => (
                "linear attention, sums of a chunk",
                "key [B, L, H, P]",
                "value [B, L, H, P]",
            ),
            Some(_) => (
                "linear attention, gradients of a chunk",
                "query [B, L, H, P]",
                "gradient [B, L, H, P]",
            ),
        };
        let product = BlockProduct {
            blocks: [self.across(); 2],
            weighted: true,
            ..BlockProduct::square([Along::Results; 2])
        };
        let kernel = product
            .kernel(name, STATES_WGSL, PLAN)
            .set("shape_a", a_shape)
            .set("shape_b", b_shape)
            .set("backward", u8::from(stats.is_some()))
            .set("factor", stats.map_or("", |_| " * stats[row].x"))
            .set("weight", stats.map_or("1.0", |_| "stats[row].y"));
        let tiles = width.div_ceil(self.across() * TILE);
        let plan = Plan {
            cells: [self.chunks(), tiles, tiles],
            positions: "info[3]",
            own_chunk: OWN_CELL,
            terms: ["min(plan.n - plan.first, info[3])", "0u"],
        };
        let mut buffers = vec![a, b, &states];
        buffers.extend(stats);
        self.launch(kernel, &plan, &buffers);
        states
    }

    /// Sums of what lies before each chunk, or of all; `last` takes those of all.
    pub(super) fn states(
        &self,
        key: &CubeTensor,
        value: &CubeTensor,
        last: [&CubeTensor; 2],
    ) -> CubeTensor {
        let states = self.sums(key, value, None);
        self.carry(&states, Some(last));
        states
    }

    /// Carries the sums over the chunks: with `last`, which takes the sums of all, from the first chunk to the last, else
    /// from the last to the first.
    pub(super) fn carry(&self, states: &CubeTensor, last: Option<[&CubeTensor; 2]>) {
        let values = self.batch * self.heads * (self.width + 1) * self.width;
        let backward = self.causal && last.is_none();
        let kernel = Kernel::new(
            "linear attention, carry",
            include_str!("carry.wgsl"),
            THREADS,
        )
        .set("causal", u8::from(self.causal))
        .set("whole", u8::from(!self.causal))
        .set("final", u8::from(last.is_some()))
        .set("info", if last.is_some() { 3 } else { 1 })
        .set(
            "chunk",
            if backward {
                "(chunks - 1u - passed)"
            } else {
                "passed"
            },
        );
        let mut buffers = vec![states];
        buffers.extend(last.into_iter().flatten());
        kernel.launch(
            &buffers,
            &[values as u32, self.chunks() as u32, self.width as u32],
            values.div_ceil(THREADS as usize),
        );
    }

    /// A value for each pair of positions of a chunk, `[B, H, chunks, 64, 64]`; nothing where attention is not causal.
    pub(super) fn weights(&self, pairs: &Pairs<'_>) -> Option<CubeTensor> {
        if !self.causal {
            return None;
        }
        let shape = [self.batch, self.heads, self.chunks(), PAIRS, PAIRS];
        let weights = empty(pairs.buffers[0].1, shape);
        let mut buffers = pairs.buffers.to_vec();
        buffers.push(("weights", &weights, WEIGHTS));
        let kernel = BlockProduct::square([Along::Terms; 2])
            .kernel(pairs.name, WEIGHTS_WGSL, PLAN)
            .set("what", pairs.what)
            .set("bindings", bindings(&buffers))
            .set("of_t", pairs.of_t)
            .set("of_u", pairs.of_u)
            .set("bias", pairs.bias);
        let plan = Plan {
            cells: [self.chunks(), 1, 1],
            positions: "PAIRS",
            own_chunk: OWN_CELL,
            terms: ["plan.width", "0u"],
        };
        self.launch(kernel, &plan, &tensors(&buffers));
        Some(weights)
    }

    /// Rows of a result at every position, `[B, L, H, P]`.
    pub(super) fn rows(&self, rows: &Rows<'_>) -> CubeTensor {
        let like = rows.buffers[0].1;
        let result = empty(like, [self.batch, self.len, self.heads, self.width]);
        let mut buffers: Vec<Buffer<'_>> = Vec::new();
        if let Some(weights) = rows.weights {
            buffers.push(("weights", weights, WEIGHTS));
            buffers.extend(rows.inside_buffers);
        }
        buffers.extend(rows.buffers);
        buffers.push(("result", &result, VALUES));
        buffers.extend(
            rows.normaliser
                .map(|normaliser| ("normaliser", normaliser, ROWS)),
        );
        let product = BlockProduct {
            blocks: [2, self.across()],
            along: [
                if self.causal && rows.pair == OF_U {
                    Along::Results
                } else {
                    Along::Terms
                },
                if rows.state == TRANSPOSED {
                    Along::Terms
                } else {
                    Along::Results
                },
            ],
            parts: 1 + usize::from(self.causal),
            weighted: rows.normaliser.is_some(),
        };
        let kernel = product
            .kernel(rows.name, ROWS_WGSL, PLAN)
            .set("causal", u8::from(self.causal))
            .set("bindings", bindings(&buffers))
            .set("pair", rows.pair)
            .set("inside", rows.inside)
            .set("left", rows.left)
            .set("state", rows.state)
            .set("value", rows.value);
        let plan = Plan {
            cells: [
                self.len.div_ceil(2 * TILE),
                1,
                self.width.div_ceil(self.across() * TILE),
            ],
            positions: "(HIGH * 4u)",
            own_chunk: if self.causal { OWN_CELL } else { "0u" },
            terms: if self.causal {
                ["min(plan.n - plan.first, PAIRS)", "plan.width"]
            } else {
                ["plan.width", "0u"]
            },
        };
        self.launch(kernel, &plan, &tensors(&buffers));
        result
    }
}

/// Name, values, type and shape of a binding.
pub(super) type Buffer<'a> = (&'static str, &'a CubeTensor, [&'static str; 2]);
pub(super) const VALUES: [&str; 2] = ["f32", "[B, L, H, P]"];
pub(super) const STATES: [&str; 2] = ["f32", "[B, H, chunks, P + 1, P]"];
pub(super) const STATS: [&str; 2] = ["vec2<f32>", "[B, L, H]: 1 / normaliser, its gradient"];
const ROWS: [&str; 2] = ["f32", "[B, L, H]"];
const WEIGHTS: [&str; 2] = ["f32", "[B, H, chunks, 64, 64]"];

fn bindings(buffers: &[Buffer<'_>]) -> String {
    let lines: Vec<String> = buffers
        .iter()
        .enumerate()
        .map(|(number, (name, _, [kind, shape]))| {
            format!("@group(0) @binding({number}) var<storage, read_write> {name}: array<{kind}>; // {shape}")
        })
        .collect();
    lines.join("\n")
}

fn tensors<'a>(buffers: &[Buffer<'a>]) -> Vec<&'a CubeTensor> {
    buffers.iter().map(|buffer| buffer.1).collect()
}

/// What `weights.wgsl` computes; the texts are WGSL.
pub(super) struct Pairs<'a> {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    pub(super) buffers: &'a [Buffer<'a>],
    /// Element `at` of row `row` of the later position, and of the earlier one.
    pub(super) of_t: &'static str,
    pub(super) of_u: &'static str,
    /// Added to a value; `row` is that of the later position.
    pub(super) bias: &'static str,
}

/// Element (term, column) of the sums: as they lie, or the other way round.
pub(super) const STRAIGHT: &str = "term * plan.width + column";
pub(super) const TRANSPOSED: &str = "column * plan.width + term";

/// The pair of a row and a term: rows are of the later position, or of the earlier one.
pub(super) const OF_T: &str = "row * PAIRS + term";
pub(super) const OF_U: &str = "term * PAIRS + row";

/// What `rows.wgsl` computes; the texts are WGSL.
pub(super) struct Rows<'a> {
    pub(super) name: &'static str,
    /// Of the pairs in a chunk, where attention is causal.
    pub(super) weights: Option<&'a CubeTensor>,
    /// Which of a pair's positions a row is of.
    pub(super) pair: &'static str,
    /// Element `at` of row `row` of what those weights are multiplied with.
    pub(super) inside: &'static str,
    /// Buffers that only `inside` needs.
    pub(super) inside_buffers: &'a [Buffer<'a>],
    /// Buffers of all else.
    pub(super) buffers: &'a [Buffer<'a>],
    /// Where the normalisers go.
    pub(super) normaliser: Option<&'a CubeTensor>,
    /// Element `at` of row `row` of what is multiplied with the sums of other chunks.
    pub(super) left: &'static str,
    pub(super) state: &'static str,
    /// The result from `sum`.
    pub(super) value: &'static str,
}
