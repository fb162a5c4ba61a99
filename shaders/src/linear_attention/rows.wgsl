// Rows of a result at the positions of a block: a product with the sums of other chunks, and causal a masked product inside
// the chunk. The host fills in which result: see launch.rs. The product is that of product.wgsl.

{{ bindings }}
// L, H, workgroups, blocks of rows, tiles right, positions of a chunk, chunks; then [B] lengths
@group(0) @binding({{ info }}) var<storage, read_write> info: array<u32>;

const P = {{ width }}u;
const LENGTHS = 7u;
const EPS = 1.0e-6;

fn make_plan(group: u32) -> Plan {
    var plan = Plan();
    if (group >= info[2]) {
        return plan;
    }
    let block = group / info[4];
    let head = block / info[3];
    plan.exists = 1u;
    plan.b = head / info[1];
    plan.h = head % info[1];
    plan.n = min(info[LENGTHS + plan.b], info[0]);
    plan.first = block % info[3] * (HIGH * 4u);
    plan.column0 = group % info[4] * (WIDE * 4u);
    plan.states = head * info[6] * (P + 1u) * P;
    // Blocks of padding alone sum nothing and write zeros.
    if (plan.first < plan.n) {
        plan.terms = P;
        //@ for only in 0..{{ causal }}
        let chunk = plan.first / info[5];
        plan.states += chunk * (P + 1u) * P;
        {{ tiles }}
        //@ end
    }
    return plan;
}

// Number of a position's row; the last real position stands for those behind it.
fn row_of(position: u32, plan: Plan) -> u32 {
    return (plan.b * info[0] + min(position, plan.n - 1u)) * info[1] + plan.h;
}

fn left(at_row: u32, term: u32, turn: u32, plan: Plan) -> f32 {
    //@ for only in 0..{{ causal }}
    if (turn > 0u) {
        return inner[at_row * STRIDE_INNER + term];
    }
    //@ end
    let row = row_of(plan.first + at_row, plan);
    let at = row * P + min(term, P - 1u);
    return select(0.0, {{ left }}, plan.first + at_row < plan.n && term < P);
}

fn right(at_term: u32, at_column: u32, turn: u32, plan: Plan) -> f32 {
    let column = min(at_column, P - 1u);
    //@ for only in 0..{{ causal }}
    if (turn > 0u) {
        // Weights of padding are zero, and the last real position stands for it.
        let row = row_of(plan.start + (turn - 1u) * TILE + at_term, plan);
        let at = row * P + column;
        return select(0.0, {{ inner_columns }}, at_column < P);
    }
    //@ end
    let term = min(at_term, P - 1u);
    return select(0.0, states[plan.states + {{ state }}], at_column < P && at_term < P);
}

//@ for only in 0..{{ weighted }}
fn weight(term: u32, turn: u32, plan: Plan) -> f32 {
    if (turn > 0u) {
        return 1.0;
    }
    return select(0.0, states[plan.states + P * P + min(term, P - 1u)], term < P);
}
//@ end

//@ for only in 0..{{ causal }}
fn inner_right(term: u32, column: u32, turn: u32, plan: Plan) -> f32 {
    let row = row_of(plan.start + (turn - 1u) * TILE + column, plan);
    let at = row * P + min(term, P - 1u);
    return select(0.0, {{ inner_right }}, term < P);
}

// A weight inside the chunk, zero where the position of the row does not meet that of the column.
fn masked(value: f32, at_row: u32, column: u32, turn: u32, plan: Plan) -> f32 {
    let own = plan.first + at_row;
    let other = plan.start + (turn - 1u) * TILE + column;
    let own_row = row_of(own, plan);
    let other_row = row_of(other, plan);
    return select(0.0, value{{ inner_bias }}, {{ meets }} && max(own, other) < plan.n);
}
//@ end

fn write_row(at_row: u32, at_column: u32, values: vec4<f32>, total: f32, plan: Plan) {
    let position = plan.first + at_row;
    if (position >= info[0]) {
        return;
    }
    let row = (plan.b * info[0] + position) * info[1] + plan.h;
    for (var lane = 0u; lane < 4u; lane++) {
        let column = at_column + lane;
        if (column < P) {
            let sum = values[lane];
            let at = row * P + column;
            var real = 0.0;
            if (position < plan.n) {
                real = {{ value }};
            }
            result[at] = real;
        }
    }
    //@ for only in 0..{{ weighted }}
    if (at_column == 0u) {
        normaliser[row] = total + EPS;
    }
    //@ end
}
