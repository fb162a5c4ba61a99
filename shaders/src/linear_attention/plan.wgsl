// The plan of a workgroup, and where its positions lie: shared by the kernels of linear attention. Behind it comes block_product.

// L, H, P, positions of a chunk, chunks, workgroups, cells a head, tiles down and right of a cell; then [B] lengths. A cell is what
// a workgroup's tiles make whole: a chunk, or a block of rows.
@group(0) @binding({{ info }}) var<storage, read_write> info: array<u32>;

const LENGTHS = 9u;
const EPS = 1.0e-6;
// Positions of a chunk, causal: as many as the weights of a pair of tiles.
const PAIRS = 64u;

struct Plan {
    exists: u32,  // whether there is such a group
    b: u32,
    h: u32,
    width: u32,   // P
    n: u32,       // real positions of the sample
    first: u32,   // first position of the cell
    row0: u32,    // of the results
    column0: u32,
    terms_0: u32, // of the sums; 0 where there is nothing to sum
    terms_1: u32,
    chunk: u32,   // number of the chunk among all
}

fn make_plan(group: u32) -> Plan {
    var plan = Plan();
    if (group >= info[5]) {
        return plan;
    }
    let tiles = info[7] * info[8];
    let cell = group / tiles;
    let head = cell / info[6];
    plan.exists = 1u;
    plan.b = head / info[1];
    plan.h = head % info[1];
    plan.width = info[2];
    plan.n = min(info[LENGTHS + plan.b], info[0]);
    plan.first = cell % info[6] * {{ positions }};
    plan.row0 = group % tiles / info[8] * (HIGH * 4u);
    plan.column0 = group % info[8] * (WIDE * 4u);
    plan.chunk = head * info[4] + {{ own_chunk }};
    // Cells of padding alone sum nothing and write zeros.
    if (plan.first < plan.n) {
        plan.terms_0 = {{ terms_0 }};
        plan.terms_1 = {{ terms_1 }};
    }
    return plan;
}

// Number of a position's row; the last real position stands for those behind it.
fn row_of(position: u32, plan: Plan) -> u32 {
    return (plan.b * info[0] + min(position, plan.n - 1u)) * info[1] + plan.h;
}

// Where the sums of the plan's chunk begin.
fn states_of(plan: Plan) -> u32 {
    return plan.chunk * (plan.width + 1u) * plan.width;
}

// elu(x) + 1
fn features(x: f32) -> f32 {
    return select(exp(min(x, 0.0)), x + 1.0, x > 0.0);
}

// The derivative of it.
fn slope(x: f32) -> f32 {
    return exp(min(x, 0.0));
}
