// A projection along the positions of each sample, or a gradient of it. The host fills in how the matrices lie: see launch.rs for the
// three products that use this. Behind it comes block_product.

@group(0) @binding(0) var<storage, read_write> a: array<f32>;      // {{ shape_a }}
@group(0) @binding(1) var<storage, read_write> b: array<f32>;      // {{ shape_b }}
@group(0) @binding(2) var<storage, read_write> result: array<f32>; // {{ shape_result }}
// B, L, k, H * P, max_len, workgroups, tiles down, tiles right; then [B] lengths
@group(0) @binding(3) var<storage, read_write> info: array<u32>;

const LENGTHS = 8u;

struct Plan {
    exists: u32,   // whether there is such a group
    terms_0: u32,  // of the sum
    rows: u32,     // of the result
    columns: u32,  // of the result
    n: u32,        // real positions of the sample
    sample: u32,
    len: u32,
    slots: u32,
    channels: u32,
    row0: u32,
    column0: u32,
}

fn make_plan(group: u32) -> Plan {
    if (group >= info[5]) {
        return Plan();
    }
    let tiles = info[6] * info[7];
    let sample = group / tiles;
    let row0 = group % tiles / info[7] * (HIGH * 4u);
    let column0 = group % info[7] * (WIDE * 4u);
    let len = info[1];
    let slots = info[2];
    let channels = info[3];
    let max_len = info[4];
    let n = {{ length }};
    return Plan(1u, {{ terms }}, {{ rows }}, {{ columns }}, n, sample, len, slots, channels, row0, column0);
}

fn root(n: u32) -> f32 {
    return inverseSqrt(f32(max(n, 1u)));
}

// Position `row` of another sample's input, scaled; zero where it is padding.
fn of_sample(row: u32, sample: u32, channel: u32, size: Plan) -> f32 {
    let n = min(info[LENGTHS + sample], size.len);
    let value = a[(sample * size.len + row) * size.channels + channel];
    return select(0.0, value * root(n), row < n);
}

// Element (row, term) of the left matrix, zero outside. Without a branch: it is read inside, then replaced.
fn left_0(at_row: u32, at_term: u32, size: Plan) -> f32 {
    let row = min(at_row, {{ last_row }});
    let term = min(at_term, size.terms_0 - 1u);
    return select(0.0, {{ left }}, at_row < {{ left_rows }} && at_term < size.terms_0);
}

// Element (term, column) of the right matrix, zero outside.
fn right_0(at_term: u32, at_column: u32, size: Plan) -> f32 {
    let column = min(at_column, size.columns - 1u);
    let term = min(at_term, size.terms_0 - 1u);
    return select(0.0, b[{{ right_index }}], at_column < size.columns && at_term < size.terms_0);
}

fn write_row(row: u32, column: u32, values: vec4<f32>, total: f32, size: Plan) {
    if (row < size.rows) {
        for (var lane = 0u; lane < 4u; lane++) {
            if (column + lane < size.columns) {
                result[{{ result_index }}] = values[lane] * {{ factor }};
            }
        }
    }
}
