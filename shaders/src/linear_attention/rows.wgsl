// Rows of a result at the positions of a block: a product with the sums of other chunks and, causal, one with the weights inside
// the chunk. The host fills in which result: see products.rs. Between plan.wgsl and block_product.

{{ bindings }}

//@ for only in 0..{{ causal }}
fn left_0(row: u32, term: u32, plan: Plan) -> f32 {
    return weights[plan.chunk * PAIRS * PAIRS + {{ pair }}];
}

// Weights of padding are zero, and the last real position stands for it.
fn right_0(term: u32, at_column: u32, plan: Plan) -> f32 {
    let column = min(at_column, plan.width - 1u);
    let row = row_of(plan.first + term, plan);
    let at = row * plan.width + column;
    return select(0.0, {{ inside }}, at_column < plan.width);
}

fn weight_0(term: u32, plan: Plan) -> f32 {
    return 1.0;
}
//@ end

fn left_{{ causal }}(at_row: u32, term: u32, plan: Plan) -> f32 {
    let row = row_of(plan.first + at_row, plan);
    let at = row * plan.width + min(term, plan.width - 1u);
    return select(0.0, {{ left }}, plan.first + at_row < plan.n && term < plan.width);
}

fn right_{{ causal }}(at_term: u32, at_column: u32, plan: Plan) -> f32 {
    let column = min(at_column, plan.width - 1u);
    let term = min(at_term, plan.width - 1u);
    return select(0.0, states[states_of(plan) + {{ state }}], at_column < plan.width && at_term < plan.width);
}

//@ for only in 0..{{ weighted }}
fn weight_{{ causal }}(term: u32, plan: Plan) -> f32 {
    return select(0.0, states[states_of(plan) + plan.width * plan.width + min(term, plan.width - 1u)], term < plan.width);
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
        if (column < plan.width) {
            let sum = values[lane];
            let at = row * plan.width + column;
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
