// Sums over the positions of a chunk: features times columns, and below them the features times the weights alone. Forward
// φ(k) vᵀ and φ(k), backward φ(q) times the gradients of numerator and normaliser. Between plan.wgsl and block_product.

@group(0) @binding(0) var<storage, read_write> a: array<f32>;      // {{ shape_a }}
@group(0) @binding(1) var<storage, read_write> b: array<f32>;      // {{ shape_b }}
@group(0) @binding(2) var<storage, read_write> states: array<f32>; // [B, H, chunks, P + 1, P]
//@ for only in 0..{{ backward }}
@group(0) @binding(3) var<storage, read_write> stats: array<vec2<f32>>; // [B, L, H]: 1 / normaliser, its gradient
//@ end

fn left_0(row: u32, term: u32, plan: Plan) -> f32 {
    let value = features(a[row_of(plan.first + term, plan) * plan.width + min(row, plan.width - 1u)]);
    return select(0.0, value, row < plan.width && term < plan.terms_0);
}

fn right_0(term: u32, column: u32, plan: Plan) -> f32 {
    let row = row_of(plan.first + term, plan);
    return select(0.0, b[row * plan.width + min(column, plan.width - 1u)]{{ factor }}, column < plan.width && term < plan.terms_0);
}

fn weight_0(term: u32, plan: Plan) -> f32 {
    let row = row_of(plan.first + term, plan);
    return select(0.0, {{ weight }}, term < plan.terms_0);
}

fn write_row(row: u32, column: u32, values: vec4<f32>, total: f32, plan: Plan) {
    if (row < plan.width) {
        let first = states_of(plan);
        for (var lane = 0u; lane < 4u; lane++) {
            if (column + lane < plan.width) {
                states[first + row * plan.width + column + lane] = values[lane];
            }
        }
        if (column == 0u) {
            states[first + plan.width * plan.width + row] = total;
        }
    }
}
