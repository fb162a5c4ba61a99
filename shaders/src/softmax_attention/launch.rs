//! Launches the attention kernels.

use burn_cubecl::tensor::CubeTensor;

use super::Visible;
use crate::launch::{Kernel, MAX_WORKGROUP_MEMORY, contiguous, empty};
use crate::tuning::Tuning;

const FORWARD: &str = concat!(
    include_str!("forward.wgsl"),
    include_str!("tiling.wgsl"),
    include_str!("key_tile.wgsl")
);
const BACKWARD_QUERY: &str = concat!(
    include_str!("backward_query.wgsl"),
    include_str!("tiling.wgsl"),
    include_str!("key_tile.wgsl")
);
const BACKWARD_KEY: &str = concat!(
    include_str!("backward_key.wgsl"),
    include_str!("tiling.wgsl")
);

/// Rows of a tile at most: enough to hide the loads, few enough that several workgroups fit.
const MAX_TILE: usize = 32;

/// How the rows are dealt out.
#[derive(Debug, Clone, Copy)]
struct Dealing {
    /// Invocations of a workgroup.
    threads: usize,
    /// Rows of an invocation.
    rows: usize,
    /// Keys whose weights an invocation of the forward kernel holds at a time.
    keys: usize,
}

impl Dealing {
    /// `vectors`: how many vectors of the row's width an invocation holds for each of its rows.
    fn new(tuning: Tuning, width: usize, rows: usize, vectors: usize) -> Self {
        if tuning == Tuning::Software {
            // Every value read from workgroup memory costs as much as any other read, so it should meet many rows. In the backward pass,
            // at 512 positions on lavapipe, eight rows of 64 values take 0.55 of the time of plain Burn, two took 1.2. Forwards eight
            // are no faster than four in a browser, and take SwiftShader a second longer to compile.
            let of_64 = if vectors > 2 { 8 } else { 4 };
            let each = (of_64 * 64 / width.next_multiple_of(4)).clamp(1, 8);
            let rows = 1 << each.ilog2();
            let keys = if width > 32 { 2 } else { 4 };
            return Self {
                threads: 64 / rows,
                rows,
                keys,
            };
        }
        // Registers are what is short: two rows of a narrow head fit.
        let each = if width <= 32 && vectors <= 2 && rows > 64 {
            2
        } else {
            1
        };
        Self {
            threads: 64,
            rows: each,
            keys: if width > 64 { 2 } else { 4 },
        }
    }

    fn block(self) -> usize {
        self.threads * self.rows
    }
}

/// Sizes of an attention: batch, queries, keys, heads, width.
struct Sizes {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    width: usize,
}

impl Sizes {
    fn of(query: &CubeTensor, key: &CubeTensor) -> Self {
        let (query, key) = (query.meta.shape(), key.meta.shape());
        Self {
            batch: query[0],
            queries: query[1],
            keys: key[1],
            heads: query[2],
            width: query[3],
        }
    }

    /// A kernel with the parameters that all of them share. `rows_of` names the buffers of rows that it reads or writes.
    fn kernel(
        &self,
        name: &'static str,
        template: &'static str,
        dealing: Dealing,
        rows_of: &[&str],
    ) -> Kernel {
        let width4 = self.width.div_ceil(4);
        // Two tiles of rows, eight bytes more a row and the plan of the group.
        let tile = ((MAX_WORKGROUP_MEMORY - 16) / (2 * 16 * width4 + 8) / 4 * 4).min(MAX_TILE);
        let whole = self.width.is_multiple_of(4);
        Kernel::new(name, template, dealing.threads as u32)
            .set("rows", dealing.rows)
            .set("keys", dealing.keys)
            .set("element", if whole { "vec4<f32>" } else { "f32" })
            .set("rows_of", row_access(rows_of, whole))
            .set("width", self.width)
            .set("width4", width4)
            .set("tile", tile)
            .set("tile_vectors", tile * width4)
            .workgroup_memory(tile * (2 * 16 * width4 + 8) + 16)
    }

    fn info(&self, visible: &Visible, blocks: usize) -> (Vec<u32>, usize) {
        let groups = self.batch * self.heads * blocks;
        let scale = 1.0 / (self.width as f32).sqrt();
        let sizes = [self.queries, self.keys, self.heads, groups, blocks].map(|size| size as u32);
        let mut info = sizes.to_vec();
        info.push(scale.to_bits());
        info.extend_from_slice(visible.queries.as_slice());
        info.extend_from_slice(visible.keys.as_slice());
        (info, groups)
    }
}

/// WGSL that reads and writes four neighbouring values of a row, for each of `buffers`.
pub(super) fn row_access(buffers: &[&str], whole: bool) -> String {
    let template = if whole {
        include_str!("row_vectors.wgsl")
    } else {
        include_str!("row_values.wgsl")
    };
    let of = |buffer: &&str| template.replace("{{ buffer }}", buffer);
    buffers.iter().map(of).collect()
}

/// `(out [B, Lq, H, P], lse [B, Lq, H])`, logarithms to base 2.
pub(super) fn forward(
    query: CubeTensor,
    key: CubeTensor,
    value: CubeTensor,
    visible: &Visible,
) -> (CubeTensor, CubeTensor) {
    let [query, key, value] = [query, key, value].map(contiguous);
    let sizes = Sizes::of(&query, &key);
    let out = empty(
        &query,
        [sizes.batch, sizes.queries, sizes.heads, sizes.width],
    );
    let lse = empty(&query, [sizes.batch, sizes.queries, sizes.heads]);
    let dealing = Dealing::new(Tuning::of(&query), sizes.width, sizes.queries, 2);
    let (info, groups) = sizes.info(visible, sizes.queries.div_ceil(dealing.block()));
    let rows_of = ["query", "key", "value", "result"];
    sizes
        .kernel("attention", FORWARD, dealing, &rows_of)
        .set("causal", visible.causal)
        .launch(&[&query, &key, &value, &out, &lse], &info, groups);
    (out, lse)
}

/// `[dquery, dkey, dvalue]`.
pub(super) fn backward(
    saved: [CubeTensor; 5],
    gradient: CubeTensor,
    visible: &Visible,
) -> [CubeTensor; 3] {
    let [query, key, value, out, lse] = saved.map(contiguous);
    let gradient = contiguous(gradient);
    let sizes = Sizes::of(&query, &key);
    let tuning = Tuning::of(&query);
    let rows = sizes.batch * sizes.queries * sizes.heads;
    let stats = empty(&query, [sizes.batch, sizes.queries, sizes.heads, 2]);
    let dealing = Dealing {
        threads: 64,
        rows: 1,
        keys: 1,
    };
    sizes
        .kernel(
            "attention delta",
            include_str!("delta.wgsl"),
            dealing,
            &["out", "gradient"],
        )
        .launch(
            &[&out, &gradient, &lse, &stats],
            &[rows as u32],
            rows.div_ceil(dealing.block()),
        );

    let dquery = empty(&query, query.meta.shape().clone());
    let dealing = Dealing::new(tuning, sizes.width, sizes.queries, 3);
    let (info, groups) = sizes.info(visible, sizes.queries.div_ceil(dealing.block()));
    sizes
        .kernel(
            "attention gradient of queries",
            BACKWARD_QUERY,
            dealing,
            &["query", "key", "value", "gradient", "result"],
        )
        .set("causal", visible.causal)
        .launch(
            &[&query, &key, &value, &gradient, &stats, &dquery],
            &info,
            groups,
        );

    let dkey = empty(&query, key.meta.shape().clone());
    let dvalue = empty(&query, key.meta.shape().clone());
    let dealing = Dealing::new(tuning, sizes.width, sizes.keys, 4);
    let (info, groups) = sizes.info(visible, sizes.keys.div_ceil(dealing.block()));
    sizes
        .kernel(
            "attention gradient of keys",
            BACKWARD_KEY,
            dealing,
            &["query", "key", "value", "gradient", "dkey", "dvalue"],
        )
        .set("causal", visible.causal)
        .launch(
            &[&query, &key, &value, &gradient, &stats, &dkey, &dvalue],
            &info,
            groups,
        );
    [dquery, dkey, dvalue]
}
