// What the positions of a chunk have to do with each other, one value a pair: {{ what }}. Zero where t comes before u, and
// where either is padding. Between plan.wgsl and block_product.

{{ bindings }}

// Of position t.
fn left_0(t: u32, term: u32, plan: Plan) -> f32 {
    let row = row_of(plan.first + t, plan);
    let at = row * plan.width + min(term, plan.width - 1u);
    return select(0.0, {{ of_t }}, term < plan.width);
}

// Of position u.
fn right_0(term: u32, u: u32, plan: Plan) -> f32 {
    let at = row_of(plan.first + u, plan) * plan.width + min(term, plan.width - 1u);
    return select(0.0, {{ of_u }}, term < plan.width);
}

fn write_row(t: u32, first_u: u32, values: vec4<f32>, total: f32, plan: Plan) {
    let row = row_of(plan.first + t, plan);
    let real = plan.first + t < plan.n;
    for (var lane = 0u; lane < 4u; lane++) {
        let u = first_u + lane;
        var value = 0.0;
        if (real && u <= t) {
            value = values[lane]{{ bias }};
        }
        weights[(plan.chunk * PAIRS + t) * PAIRS + u] = value;
    }
}
