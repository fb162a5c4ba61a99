// A product with rows and columns in tiles: 32 x 32 results, or twice as many either way, by a workgroup of 8 x 8, in blocks of
// 4 x 4, 16 terms of the sum at a time. It is a sum of {{ parts }} such products one after the other, as where a position meets
// others of its chunk and the sums of the chunks before. What comes before this text says what is multiplied:
//
//   struct Plan               of a workgroup: exists (0 or 1), row0 and column0 of its results, terms_0 (terms_1) of the sums, and more
//   make_plan(group)          where there is no such group, all zeros
//   left_0(row, term, plan)   zero outside of the matrix; rows and columns count from the first of all
//   right_0(term, column, plan)
//   weight_0(term, plan)      where {{ weighted }} is 1: the terms of the left matrix are summed with it beside the product
//   write_row(row, column, values, total, plan)   four neighbouring results, and that sum of their row (else 0)

const THREADS = {{ threads }}u;
const STEP = 16u;
const TILE = 32u;
// In vectors of four rows or columns.
const HIGH = {{ row_blocks }}u * 8u;
const WIDE = {{ column_blocks }}u * 8u;
// One more, so that a column of invocations does not meet in one bank.
const STRIDE_A = HIGH + 1u;
const STRIDE_B = WIDE + 1u;

var<workgroup> shared_plan: Plan;
var<workgroup> tile_a: array<vec4<f32>, STEP * STRIDE_A>;
var<workgroup> tile_b: array<vec4<f32>, STEP * STRIDE_B>;
//@ for only in 0..{{ weighted }}
var<workgroup> tile_w: array<f32, STEP>;
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
    //@ for part in 0..{{ parts }}
    for (var start = 0u; start < plan.terms_@part; start += STEP) {
        for (var at = thread; at < STEP * HIGH; at += THREADS) {
            // Neighbouring invocations read neighbouring values, whichever way a matrix lies.
            let four = {{ a_four }};
            let step = {{ a_step }};
            let row = plan.row0 + four * 4u;
            tile_a[step * STRIDE_A + four] = vec4<f32>(
                left_@part(row, start + step, plan),
                left_@part(row + 1u, start + step, plan),
                left_@part(row + 2u, start + step, plan),
                left_@part(row + 3u, start + step, plan),
            );
        }
        for (var at = thread; at < STEP * WIDE; at += THREADS) {
            let four = {{ b_four }};
            let step = {{ b_step }};
            let column = plan.column0 + four * 4u;
            tile_b[step * STRIDE_B + four] = vec4<f32>(
                right_@part(start + step, column, plan),
                right_@part(start + step, column + 1u, plan),
                right_@part(start + step, column + 2u, plan),
                right_@part(start + step, column + 3u, plan),
            );
        }
        //@ for only in 0..{{ weighted }}
        if (thread < STEP) {
            tile_w[thread] = weight_@part(start + thread, plan);
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
    //@ end
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
    {{ after }}
}
