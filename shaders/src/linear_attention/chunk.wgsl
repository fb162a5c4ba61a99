// Sums over the positions of a chunk: features times columns, and below them the features times the weights alone. Forward
// φ(k) vᵀ and φ(k), backward φ(q) times the gradients of numerator and normaliser. The product is that of product.wgsl.

@group(0) @binding(0) var<storage, read_write> a: array<f32>;      // {{ shape_a }}
@group(0) @binding(1) var<storage, read_write> b: array<f32>;      // {{ shape_b }}
@group(0) @binding(2) var<storage, read_write> states: array<f32>; // [B, H, chunks, P + 1, P]
//@ for only in 0..{{ backward }}
@group(0) @binding(3) var<storage, read_write> stats: array<vec2<f32>>; // [B, L, H]: 1 / normaliser, its gradient
//@ end
// L, H, workgroups, chunks, tiles down, tiles right, positions of a chunk; then [B] lengths
@group(0) @binding({{ info }}) var<storage, read_write> info: array<u32>;

const P = {{ width }}u;
const LENGTHS = 7u;

fn make_plan(group: u32) -> Plan {
    var plan = Plan();
    if (group >= info[2]) {
        return plan;
    }
    let tiles = info[4] * info[5];
    let chunk = group / tiles;
    let head = chunk / info[3];
    plan.exists = 1u;
    plan.b = head / info[1];
    plan.h = head % info[1];
    plan.n = min(info[LENGTHS + plan.b], info[0]);
    plan.first = chunk % info[3] * info[6];
    plan.row0 = group % tiles / info[5] * (HIGH * 4u);
    plan.column0 = group % info[5] * (WIDE * 4u);
    plan.terms = min(max(plan.n, plan.first) - plan.first, info[6]);
    plan.states = chunk * (P + 1u) * P;
    return plan;
}

// Number of a position's row; the last term stands for those behind it.
fn row_of(term: u32, plan: Plan) -> u32 {
    return (plan.b * info[0] + plan.first + min(term, plan.terms - 1u)) * info[1] + plan.h;
}

fn left(row: u32, term: u32, turn: u32, plan: Plan) -> f32 {
    let value = features(a[row_of(term, plan) * P + min(row, P - 1u)]);
    return select(0.0, value, row < P && term < plan.terms);
}

fn right(term: u32, column: u32, turn: u32, plan: Plan) -> f32 {
    let row = row_of(term, plan);
    return select(0.0, b[row * P + min(column, P - 1u)]{{ factor }}, column < P && term < plan.terms);
}

fn weight(term: u32, turn: u32, plan: Plan) -> f32 {
    let row = row_of(term, plan);
    return select(0.0, {{ weight }}, term < plan.terms);
}

fn write_row(row: u32, column: u32, values: vec4<f32>, total: f32, plan: Plan) {
    if (row < P) {
        for (var lane = 0u; lane < 4u; lane++) {
            if (column + lane < P) {
                states[plan.states + row * P + column + lane] = values[lane];
            }
        }
        if (column == 0u) {
            states[plan.states + P * P + row] = total;
        }
    }
}
