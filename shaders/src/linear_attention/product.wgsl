// A product with rows and columns in tiles: 32 x 32 results, or twice as many either way, by a workgroup of 8 x 8, in blocks
// of 4 x 4, 16 terms of the sum at a time. Beside it sums of the left matrix over the terms, each term with a weight. What
// comes before this text says what is multiplied: chunk.wgsl or rows.wgsl.

const THREADS = {{ threads }}u;
const STEP = 16u;
const TILE = 32u;
// In vectors of four rows or columns.
const HIGH = {{ row_blocks }}u * 8u;
const WIDE = {{ column_blocks }}u * 8u;
// One more, so that a column of invocations does not meet in one bank.
const STRIDE_A = HIGH + 1u;
const STRIDE_B = WIDE + 1u;
const STRIDE_INNER = TILE + 1u;

struct Plan {
    exists: u32,  // whether there is such a group
    b: u32,
    h: u32,
    width: u32,   // P
    n: u32,       // real positions of the sample
    first: u32,   // first position of the group
    row0: u32,    // of the results
    column0: u32,
    terms: u32,   // of the sum; 0 where there is nothing to sum
    states: u32,  // where the sums of the chunk begin
    start: u32,   // first position of the tiles in the chunk
    tiles: u32,   // tiles in the chunk that the rows see
}

var<workgroup> shared_plan: Plan;
var<workgroup> tile_a: array<vec4<f32>, {{ tile_a }}>;
var<workgroup> tile_b: array<vec4<f32>, {{ tile_b }}>;
//@ for only in 0..{{ weighted }}
var<workgroup> tile_w: array<f32, 16>;
//@ end
//@ for only in 0..{{ causal }}
// Weights of a tile in the chunk: 32 rows of the group by 32 positions.
var<workgroup> inner: array<f32, 1056>;
//@ end

//@ for only in 0..{{ given }}
// Queries and keys come as features already.
fn features(x: f32) -> f32 {
    return x;
}

// The derivative of elu(x) + 1, from its value.
fn slope(x: f32) -> f32 {
    return min(x, 1.0);
}
//@ end
//@ for only in 0..{{ computed }}
// elu(x) + 1
fn features(x: f32) -> f32 {
    return select(exp(min(x, 0.0)), x + 1.0, x > 0.0);
}

// The derivative of it.
fn slope(x: f32) -> f32 {
    return exp(min(x, 0.0));
}
//@ end

// Row i of the result is rows[i] * columns.
fn outer(rows: vec4<f32>, columns: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(rows.x * columns, rows.y * columns, rows.z * columns, rows.w * columns);
}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    if (thread == 0u) {
        shared_plan = make_plan(group_id.y * groups.x + group_id.x);
    }
    // Uniform, so that the barriers below may stand in loops over it.
    let plan = workgroupUniformLoad(&shared_plan);
    let tx = thread % 8u;
    let ty = thread / 8u;
    //@ for r in 0..{{ row_blocks }}
    var total_@r = vec4<f32>(0.0);
    //@ for c in 0..{{ column_blocks }}
    var sum_@r_@c = mat4x4<f32>();
    //@ end
    //@ end
    for (var turn = 0u; turn <= plan.tiles; turn++) {
        // Turn 0 is the product with the sums of other chunks, the others are tiles of this chunk.
        var terms = plan.terms;
        //@ for only in 0..{{ causal }}
        if (turn > 0u) {
            terms = TILE;
            var block = mat4x4<f32>();
            for (var start = 0u; start < plan.width; start += STEP) {
                for (var at = thread; at < STEP * 8u; at += THREADS) {
                    let row = at / STEP * 4u;
                    let term = start + at % STEP;
                    let slot = at % STEP * STRIDE_A + at / STEP;
                    tile_a[slot] = vec4<f32>(
                        left(row, term, 0u, plan),
                        left(row + 1u, term, 0u, plan),
                        left(row + 2u, term, 0u, plan),
                        left(row + 3u, term, 0u, plan),
                    );
                    tile_b[at % STEP * STRIDE_B + at / STEP] = vec4<f32>(
                        inner_right(term, row, turn, plan),
                        inner_right(term, row + 1u, turn, plan),
                        inner_right(term, row + 2u, turn, plan),
                        inner_right(term, row + 3u, turn, plan),
                    );
                }
                workgroupBarrier();
                for (var t = 0u; t < STEP; t++) {
                    block += outer(tile_a[t * STRIDE_A + ty], tile_b[t * STRIDE_B + tx]);
                }
                workgroupBarrier();
            }
            //@ for i in 0..4
            //@ for j in 0..4
            inner[(ty * 4u + @iu) * STRIDE_INNER + tx * 4u + @ju] =
                masked(block[@i][@j], ty * 4u + @iu, tx * 4u + @ju, turn, plan);
            //@ end
            //@ end
            workgroupBarrier();
        }
        //@ end
        for (var start = 0u; start < terms; start += STEP) {
            for (var at = thread; at < STEP * HIGH; at += THREADS) {
                // Neighbouring invocations read neighbouring values, whichever way a matrix lies.
                let four = {{ a_four }};
                let k = {{ a_step }};
                tile_a[k * STRIDE_A + four] = vec4<f32>(
                    left(plan.row0 + four * 4u, start + k, turn, plan),
                    left(plan.row0 + four * 4u + 1u, start + k, turn, plan),
                    left(plan.row0 + four * 4u + 2u, start + k, turn, plan),
                    left(plan.row0 + four * 4u + 3u, start + k, turn, plan),
                );
            }
            for (var at = thread; at < STEP * WIDE; at += THREADS) {
                let four = {{ b_four }};
                let k = {{ b_step }};
                let column = plan.column0 + four * 4u;
                tile_b[k * STRIDE_B + four] = vec4<f32>(
                    right(start + k, column, turn, plan),
                    right(start + k, column + 1u, turn, plan),
                    right(start + k, column + 2u, turn, plan),
                    right(start + k, column + 3u, turn, plan),
                );
            }
            //@ for only in 0..{{ weighted }}
            if (thread < STEP) {
                tile_w[thread] = weight(start + thread, turn, plan);
            }
            //@ end
            workgroupBarrier();
            for (var t = 0u; t < STEP; t++) {
                //@ for c in 0..{{ column_blocks }}
                let b_@c = tile_b[t * STRIDE_B + @cu * 8u + tx];
                //@ end
                //@ for r in 0..{{ row_blocks }}
                let a_@r = tile_a[t * STRIDE_A + @ru * 8u + ty];
                //@ for only in 0..{{ weighted }}
                total_@r += a_@r * tile_w[t];
                //@ end
                //@ for c in 0..{{ column_blocks }}
                sum_@r_@c += outer(a_@r, b_@c);
                //@ end
                //@ end
            }
            workgroupBarrier();
        }
    }
    if (plan.exists == 1u) {
        //@ for r in 0..{{ row_blocks }}
        //@ for c in 0..{{ column_blocks }}
        //@ for i in 0..4
        write_row(
            plan.row0 + @ru * TILE + ty * 4u + @iu,
            plan.column0 + @cu * TILE + tx * 4u,
            sum_@r_@c[@i],
            total_@r[@i],
            plan,
        );
        //@ end
        //@ end
        //@ end
    }
}
