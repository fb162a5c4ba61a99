// A product of two matrices for each sample: 64 x 64 results by a workgroup of 8 x 8, 8 x 8 an invocation, 16 terms of the
// sum at a time. The host fills in how the matrices lie: see launch.rs for the three products that use this.

@group(0) @binding(0) var<storage, read_write> a: array<f32>;      // {{ shape_a }}
@group(0) @binding(1) var<storage, read_write> b: array<f32>;      // {{ shape_b }}
@group(0) @binding(2) var<storage, read_write> result: array<f32>; // {{ shape_result }}
// B, L, k, H * P, max_len, workgroups, tiles down, tiles right; then [B] lengths
@group(0) @binding(3) var<storage, read_write> info: array<u32>;

const THREADS = {{ threads }}u;
const TILE = 64u;
const STEP = 16u;
const LENGTHS = 8u;

struct Sizes {
    terms: u32,    // of the sum; 0 where the group does not exist
    rows: u32,     // of the result
    columns: u32,  // of the result
    n: u32,        // real positions of the sample
    sample: u32,
    len: u32,
    slots: u32,
    channels: u32,
    write: u32,    // whether the group exists
}

var<workgroup> plan: Sizes;
// (16 terms, 64 rows or columns in fours), one more so that a column of threads does not meet in one bank.
var<workgroup> tile_a: array<vec4<f32>, 272>;
var<workgroup> tile_b: array<vec4<f32>, 272>;

fn root(n: u32) -> f32 {
    return inverseSqrt(f32(max(n, 1u)));
}

// Position `row` of another sample's input, scaled; zero where it is padding.
fn of_sample(row: u32, sample: u32, channel: u32, size: Sizes) -> f32 {
    let n = min(info[LENGTHS + sample], size.len);
    let value = a[(sample * size.len + row) * size.channels + channel];
    return select(0.0, value * root(n), row < n);
}

// Element (row, term) of the left matrix, zero outside. Without a branch: it is read inside, then replaced.
fn left(at_row: u32, at_term: u32, size: Sizes) -> f32 {
    let row = min(at_row, {{ last_row }});
    let term = min(at_term, size.terms - 1u);
    return select(0.0, {{ left }}, at_row < {{ left_rows }} && at_term < size.terms);
}

// Element (term, column) of the right matrix, zero outside.
fn right(at_term: u32, at_column: u32, size: Sizes) -> f32 {
    let column = min(at_column, size.columns - 1u);
    let term = min(at_term, size.terms - 1u);
    return select(0.0, b[{{ right_index }}], at_column < size.columns && at_term < size.terms);
}

fn write_row(row: u32, column: u32, values: vec4<f32>, size: Sizes) {
    if (row < size.rows && size.write == 1u) {
        for (var lane = 0u; lane < 4u; lane++) {
            if (column + lane < size.columns) {
                result[{{ result_index }}] = values[lane] * {{ factor }};
            }
        }
    }
}

// Four rows of four values.
fn write_block(row: u32, column: u32, block: mat4x4<f32>, size: Sizes) {
    write_row(row, column, block[0], size);
    write_row(row + 1u, column, block[1], size);
    write_row(row + 2u, column, block[2], size);
    write_row(row + 3u, column, block[3], size);
}

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
    let group = group_id.y * groups.x + group_id.x;
    let tiles = info[6] * info[7];
    let sample = group / tiles;
    let row0 = group % tiles / info[7] * TILE;
    let column0 = group % info[7] * TILE;
    if (thread == 0u) {
        let len = info[1];
        let slots = info[2];
        let channels = info[3];
        let max_len = info[4];
        plan = Sizes(0u, 0u, 0u, 0u, sample, len, slots, channels, 0u);
        if (group < info[5]) {
            let n = {{ length }};
            plan.terms = {{ terms }};
            plan.rows = {{ rows }};
            plan.columns = {{ columns }};
            plan.n = n;
            plan.write = 1u;
        }
    }
    // Uniform, so that the barriers below may stand in a loop over it.
    let size = workgroupUniformLoad(&plan);
    let tx = thread % 8u;
    let ty = thread / 8u;
    // The rows of an invocation are 4 ty .. and 32 + 4 ty .., its columns 4 tx .. and 32 + 4 tx ..
    var upper_left = mat4x4<f32>();
    var upper_right = mat4x4<f32>();
    var lower_left = mat4x4<f32>();
    var lower_right = mat4x4<f32>();
    for (var start = 0u; start < size.terms; start += STEP) {
        for (var at = thread; at < 256u; at += THREADS) {
            // Neighbouring invocations read neighbouring values, whichever way a matrix lies.
            let four_a = {{ a_four }};
            let step_a = {{ a_step }};
            let row = row0 + four_a * 4u;
            tile_a[step_a * 17u + four_a] = vec4<f32>(
                left(row, start + step_a, size),
                left(row + 1u, start + step_a, size),
                left(row + 2u, start + step_a, size),
                left(row + 3u, start + step_a, size),
            );
            let four_b = {{ b_four }};
            let step_b = {{ b_step }};
            let column = column0 + four_b * 4u;
            tile_b[step_b * 17u + four_b] = vec4<f32>(
                right(start + step_b, column, size),
                right(start + step_b, column + 1u, size),
                right(start + step_b, column + 2u, size),
                right(start + step_b, column + 3u, size),
            );
        }
        workgroupBarrier();
        for (var t = 0u; t < STEP; t++) {
            let upper = tile_a[t * 17u + ty];
            let lower = tile_a[t * 17u + 8u + ty];
            let near = tile_b[t * 17u + tx];
            let far = tile_b[t * 17u + 8u + tx];
            upper_left += outer(upper, near);
            upper_right += outer(upper, far);
            lower_left += outer(lower, near);
            lower_right += outer(lower, far);
        }
        workgroupBarrier();
    }
    let row = row0 + ty * 4u;
    let column = column0 + tx * 4u;
    write_block(row, column, upper_left, size);
    write_block(row, column + 32u, upper_right, size);
    write_block(row + 32u, column, lower_left, size);
    write_block(row + 32u, column + 32u, lower_right, size);
}
