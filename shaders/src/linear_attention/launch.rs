//! Launches linear attention: sums of each chunk, their carry, then rows of the result; backward the same with the chunks in
//! reverse.

use burn_cubecl::tensor::CubeTensor;

use super::{Forward, Saved};
use crate::Lengths;
use crate::launch::{Kernel, contiguous, empty};
use crate::tuning::Tuning;

const THREADS: u32 = 64;
/// Rows of the tiles inside a chunk.
const TILE: usize = 32;
/// Positions that one workgroup sums where nothing is masked.
const BIDIRECTIONAL_CHUNK: usize = 256;

/// Positions of a chunk. Causal, a wider head has more to carry from one chunk to the next.
fn chunk(width: usize, causal: bool) -> usize {
    match (causal, width > 64) {
        (false, _) => BIDIRECTIONAL_CHUNK,
        (true, false) => 64,
        (true, true) => 128,
    }
}

/// Sizes of an attention.
struct Sizes<'a> {
    batch: usize,
    len: usize,
    heads: usize,
    width: usize,
    causal: bool,
    chunk: usize,
    /// Whether queries and keys are mapped to features once, before all else: the kernels of causal attention meet a value some ten
    /// times, and a software adapter has no unit for the exponential. What it brings by itself has not been measured.
    mapped: bool,
    lengths: &'a Lengths,
}

impl<'a> Sizes<'a> {
    fn of(tensor: &CubeTensor, lengths: &'a Lengths, causal: bool) -> Self {
        let shape = tensor.meta.shape();
        Self {
            batch: shape[0],
            len: shape[1],
            heads: shape[2],
            width: shape[3],
            causal,
            chunk: chunk(shape[3], causal),
            mapped: causal && Tuning::of(tensor) == Tuning::Software,
            lengths,
        }
    }

    /// Queries or keys as the kernels want them.
    fn features(&self, x: CubeTensor) -> CubeTensor {
        if !self.mapped {
            return x;
        }
        let values = self.batch * self.len * self.heads * self.width;
        let result = empty(&x, x.meta.shape().clone());
        let template = include_str!("features.wgsl");
        Kernel::new("linear attention, features", template, THREADS).launch(
            &[&x, &result],
            &[values as u32],
            values.div_ceil(THREADS as usize),
        );
        result
    }

    fn chunks(&self) -> usize {
        self.len.div_ceil(self.chunk)
    }

    /// Blocks of 32 rows or columns of a tile that covers the width.
    fn across(&self) -> usize {
        if self.width > TILE { 2 } else { 1 }
    }

    fn info(&self, sizes: &[usize]) -> Vec<u32> {
        let mut info: Vec<u32> = sizes.iter().map(|&size| size as u32).collect();
        info.extend_from_slice(self.lengths.as_slice());
        info
    }

    /// A kernel around the product of `blocks` (down, across) of 32 x 32 results.
    fn product(
        &self,
        name: &'static str,
        template: &'static str,
        blocks: [usize; 2],
        [weighted, causal]: [bool; 2],
    ) -> Kernel {
        let [tile_a, tile_b] = blocks.map(|blocks| 16 * (8 * blocks + 1));
        let inner = if causal { TILE * (TILE + 1) } else { 0 };
        Kernel::new(name, template, THREADS)
            .set("row_blocks", blocks[0])
            .set("column_blocks", blocks[1])
            .set("tile_a", tile_a)
            .set("tile_b", tile_b)
            .set("weighted", u8::from(weighted))
            .set("causal", u8::from(causal))
            .set("given", u8::from(self.mapped))
            .set("computed", u8::from(!self.mapped))
            .workgroup_memory(16 * (tile_a + tile_b) + 4 * inner + 64 + 48)
    }

    /// Sums over each chunk: features of `a` times `b`, with `stats` times the gradients of the rows. `[B, H, chunks, P + 1, P]`
    fn sums(&self, a: &CubeTensor, b: &CubeTensor, stats: Option<&CubeTensor>) -> CubeTensor {
        let [rows, columns] = [self.across(); 2];
        let tiles = [rows, columns].map(|blocks| self.width.div_ceil(blocks * TILE));
        let groups = self.batch * self.heads * self.chunks() * tiles[0] * tiles[1];
        let states = empty(
            a,
            [
                self.batch,
                self.heads,
                self.chunks(),
                self.width + 1,
                self.width,
            ],
        );
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
        let template = concat!(include_str!("chunk.wgsl"), include_str!("product.wgsl"));
        let kernel = self
            .product(name, template, [rows, columns], [true, false])
            .set("shape_a", a_shape)
            .set("shape_b", b_shape)
            .set("backward", u8::from(stats.is_some()))
            .set("info", 3 + usize::from(stats.is_some()))
            .set("factor", stats.map_or("", |_| " * stats[row].x"))
            .set("weight", stats.map_or("1.0", |_| "stats[row].y"));
        let kernel = dealt(kernel, ACROSS, ACROSS);
        let info = self.info(&[
            self.len,
            self.heads,
            groups,
            self.chunks(),
            tiles[0],
            tiles[1],
            self.chunk,
            self.width,
        ]);
        let mut buffers = vec![a, b, &states];
        buffers.extend(stats);
        kernel.launch(&buffers, &info, groups);
        states
    }

    /// Carries the sums over the chunks: with `last`, which takes the sums of all, from the first chunk to the last, else
    /// from the last to the first.
    fn carry(&self, states: &CubeTensor, last: Option<[&CubeTensor; 2]>) {
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

    /// Rows of a result at every position, `[B, L, H, P]`.
    fn rows(&self, rows: &Rows<'_>) -> CubeTensor {
        let inside = if self.causal { rows.inside } else { &[] };
        let result = empty(
            rows.buffers[0].1,
            [self.batch, self.len, self.heads, self.width],
        );
        let mut buffers: Vec<Buffer<'_>> = rows.buffers.iter().chain(inside).copied().collect();
        buffers.push(("result", &result, VALUES));
        buffers.extend(
            rows.normaliser
                .map(|normaliser| ("normaliser", normaliser, ROWS)),
        );
        let bindings: Vec<String> = buffers
            .iter()
            .enumerate()
            .map(|(number, (name, _, [kind, shape]))| {
                format!("@group(0) @binding({number}) var<storage, read_write> {name}: array<{kind}>; // {shape}")
            })
            .collect();
        let blocks = [if self.causal { 1 } else { 2 }, self.across()];
        let (down, across) = (
            self.len.div_ceil(blocks[0] * TILE),
            self.width.div_ceil(blocks[1] * TILE),
        );
        let groups = self.batch * self.heads * down * across;
        let template = concat!(include_str!("rows.wgsl"), include_str!("product.wgsl"));
        let weighted = rows.normaliser.is_some();
        let transposed = rows.state == TRANSPOSED;
        let kernel = self
            .product(rows.name, template, blocks, [weighted, self.causal])
            .set("bindings", bindings.join("\n"))
            .set("info", buffers.len())
            .set("left", rows.left)
            .set("state", rows.state)
            .set("inner_right", rows.inner_right)
            .set("inner_bias", rows.inner_bias)
            .set("inner_columns", rows.inner_columns)
            .set("meets", rows.order[0])
            .set("tiles", rows.order[1])
            .set("value", rows.value);
        let kernel = dealt(kernel, DOWN, if transposed { DOWN } else { ACROSS });
        let info = self.info(&[
            self.len,
            self.heads,
            groups,
            down,
            across,
            self.chunk,
            self.chunks(),
            self.width,
        ]);
        let buffers: Vec<&CubeTensor> = buffers.iter().map(|buffer| buffer.1).collect();
        kernel.launch(&buffers, &info, groups);
        result
    }
}

/// How the 16 terms and the rows or columns of a tile are dealt out to neighbouring invocations.
type Dealing = [&'static str; 2];
/// Rows or columns lie side by side in memory.
const ACROSS: Dealing = ["at % COUNT", "at / COUNT"];
/// Terms lie side by side in memory.
const DOWN: Dealing = ["at / STEP", "at % STEP"];

fn dealt(kernel: Kernel, a: Dealing, b: Dealing) -> Kernel {
    let [a_four, a_step] = a.map(|text| text.replace("COUNT", "HIGH"));
    let [b_four, b_step] = b.map(|text| text.replace("COUNT", "WIDE"));
    kernel
        .set("a_four", a_four)
        .set("a_step", a_step)
        .set("b_four", b_four)
        .set("b_step", b_step)
}

/// Name, values, type and shape of a binding.
type Buffer<'a> = (&'static str, &'a CubeTensor, [&'static str; 2]);
const VALUES: [&str; 2] = ["f32", "[B, L, H, P]"];
const ROWS: [&str; 2] = ["f32", "[B, L, H]"];
const STATES: [&str; 2] = ["f32", "[B, H, chunks, P + 1, P]"];
const STATS: [&str; 2] = ["vec2<f32>", "[B, L, H]: 1 / normaliser, its gradient"];

/// Element (term, column) of the sums: as they lie, or the other way round.
const STRAIGHT: &str = "term * plan.width + column";
const TRANSPOSED: &str = "column * plan.width + term";

/// Which positions of the chunk a row meets, and which tiles hold them.
type Order = [&'static str; 2];
/// Queries meet the keys up to their own.
const BEFORE: Order = [
    "other <= own",
    "plan.start = chunk * info[5]; plan.tiles = (plan.first - plan.start) / TILE + 1u;",
];
/// Keys meet the queries from their own on.
const BEHIND: Order = [
    "other >= own",
    "plan.start = plan.first; plan.tiles = (min(plan.n, (chunk + 1u) * info[5]) - plan.first + TILE - 1u) / TILE;",
];

/// What `rows.wgsl` computes; the texts are WGSL.
struct Rows<'a> {
    name: &'static str,
    /// Buffers of the product with the sums.
    buffers: &'a [Buffer<'a>],
    /// Buffers of the product inside the chunk.
    inside: &'a [Buffer<'a>],
    /// Where the normalisers go.
    normaliser: Option<&'a CubeTensor>,
    /// Element `at` of row `row` of the left matrix.
    left: &'static str,
    state: &'static str,
    /// Element `at` of row `row` of what the left matrix is multiplied with for the weights inside the chunk.
    inner_right: &'static str,
    /// Added to such a weight.
    inner_bias: &'static str,
    /// Element `at` of row `row` of what those weights are multiplied with.
    inner_columns: &'static str,
    order: Order,
    /// The result from `sum`.
    value: &'static str,
}

/// y, kv, z, normalisers, and the sums where the backward pass takes them.
pub(super) fn forward(
    inputs: [CubeTensor; 3],
    lengths: &Lengths,
    causal: bool,
) -> Forward<CubeTensor> {
    let [query, key, value] = inputs.map(contiguous);
    let sizes = Sizes::of(&query, lengths, causal);
    let Sizes {
        batch,
        len,
        heads,
        width,
        ..
    } = sizes;
    let [query, key] = [query, key].map(|x| sizes.features(x));
    let states = sizes.sums(&key, &value, None);
    let kv = empty(&query, [batch, heads, width, width]);
    let z = empty(&query, [batch, heads, width]);
    sizes.carry(&states, Some([&kv, &z]));
    let normaliser = empty(&query, [batch, len, heads]);
    let y = sizes.rows(&Rows {
        name: "linear attention",
        buffers: &[("query", &query, VALUES), ("states", &states, STATES)],
        inside: &[("key", &key, VALUES), ("value", &value, VALUES)],
        normaliser: Some(&normaliser),
        left: "features(query[at])",
        state: STRAIGHT,
        inner_right: "features(key[at])",
        inner_bias: "",
        inner_columns: "value[at]",
        order: BEFORE,
        value: "sum / (total + EPS)",
    });
    Forward {
        y,
        kv,
        z,
        normaliser,
        states: Some(states),
    }
}

/// `[dquery, dkey, dvalue]`.
pub(super) fn backward(saved: Saved<CubeTensor>, gradient: CubeTensor) -> [CubeTensor; 3] {
    let Saved {
        inputs,
        forward,
        lengths,
        causal,
    } = saved;
    let [query, key, value] = inputs.map(contiguous);
    let gradient = contiguous(gradient);
    let sizes = Sizes::of(&query, &lengths, causal);
    let rows = sizes.batch * sizes.len * sizes.heads;
    let stats = empty(&query, [sizes.batch, sizes.len, sizes.heads, 2]);
    let template = include_str!("stats.wgsl");
    Kernel::new("linear attention, stats", template, THREADS).launch(
        &[&gradient, &forward.y, &forward.normaliser, &stats],
        &[rows as u32, sizes.width as u32],
        rows.div_ceil(THREADS as usize),
    );
    let [query, key] = [query, key].map(|x| sizes.features(x));
    let states = forward
        .states
        .expect("the forward pass on a GPU keeps them");
    let dquery = sizes.rows(&Rows {
        name: "linear attention, gradient of queries",
        buffers: &[
            ("query", &query, VALUES),
            ("gradient", &gradient, VALUES),
            ("stats", &stats, STATS),
            ("states", &states, STATES),
        ],
        inside: &[("key", &key, VALUES), ("value", &value, VALUES)],
        normaliser: None,
        left: "gradient[at] * stats[row].x",
        state: TRANSPOSED,
        inner_right: "value[at]",
        inner_bias: " + stats[own_row].y",
        inner_columns: "features(key[at])",
        order: BEFORE,
        value: "(sum + stats[row].y * states[plan.states + plan.width * plan.width + column]) * slope(query[at])",
    });
    // Those of the forward pass make room before the next ones are made.
    drop(states);
    let states = sizes.sums(&query, &gradient, Some(&stats));
    sizes.carry(&states, None);
    let dkey = sizes.rows(&Rows {
        name: "linear attention, gradient of keys",
        buffers: &[
            ("key", &key, VALUES),
            ("value", &value, VALUES),
            ("states", &states, STATES),
        ],
        inside: &[
            ("query", &query, VALUES),
            ("gradient", &gradient, VALUES),
            ("stats", &stats, STATS),
        ],
        normaliser: None,
        left: "value[at]",
        state: TRANSPOSED,
        inner_right: "gradient[at] * stats[row].x",
        inner_bias: " + stats[other_row].y",
        inner_columns: "features(query[at])",
        order: BEHIND,
        value: "(sum + states[plan.states + plan.width * plan.width + column]) * slope(key[at])",
    });
    let dvalue = sizes.rows(&Rows {
        name: "linear attention, gradient of values",
        buffers: &[("key", &key, VALUES), ("states", &states, STATES)],
        inside: &[
            ("query", &query, VALUES),
            ("gradient", &gradient, VALUES),
            ("stats", &stats, STATS),
        ],
        normaliser: None,
        left: "features(key[at])",
        state: STRAIGHT,
        inner_right: "features(query[at])",
        inner_bias: "",
        inner_columns: "gradient[at] * stats[row].x",
        order: BEHIND,
        value: "sum",
    });
    [dquery, dkey, dvalue]
}
