// A product of two matrices, tile by tile: 64 x 64 results a workgroup, 4 x 4 an invocation, 16 terms of the sum at a time.
// `terms_a`, `terms_b` and `write` are filled in by the host: see launch.rs for the three products that use this.

@group(0) @binding(0) var<storage, read_write> a: array<f32>;      // {{ shape_a }}
@group(0) @binding(1) var<storage, read_write> b: array<f32>;      // {{ shape_b }}
@group(0) @binding(2) var<storage, read_write> result: array<f32>; // {{ shape_result }}
// B, L, k, H * P, max_len, workgroups, tiles down, tiles right; then [B] lengths
@group(0) @binding(3) var<storage, read_write> info: array<u32>;

const THREADS = {{ threads }}u;
const TILE = 64u;
const STEP = 16u;
const LENGTHS = 8u;

var<workgroup> plan: vec4<u32>;
var<workgroup> tile_a: array<vec4<f32>, 256>; // [STEP][TILE]
var<workgroup> tile_b: array<vec4<f32>, 256>; // [STEP][TILE]

fn root(n: u32) -> f32 {
    return inverseSqrt(f32(max(n, 1u)));
}

// Element (m, t) of the left matrix.
fn left(sample: u32, n: u32, m: u32, t: u32) -> f32 {
    let len = info[1];
    let slots = info[2];
    let channels = info[3];
    {{ left }}
}

// Element (t, j) of the right matrix.
fn right(sample: u32, n: u32, t: u32, j: u32) -> f32 {
    let len = info[1];
    let slots = info[2];
    let channels = info[3];
    {{ right }}
}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = group_id.y * groups.x + group_id.x;
    let len = info[1];
    let slots = info[2];
    let channels = info[3];
    let max_len = info[4];
    let tiles = info[6] * info[7];
    let sample = group / tiles;
    let first_m = group % tiles / info[7] * TILE;
    let first_j = group % info[7] * TILE;
    if (thread == 0u) {
        // (terms of the sum, real positions of the sample, whether the group exists)
        plan = vec4<u32>(0u);
        if (group < info[5]) {
            let n = {{ length }};
            plan = vec4<u32>({{ terms }}, n, 1u, 0u);
        }
    }
    // Uniform, so that the barriers below may stand in a loop over it.
    let sizes = workgroupUniformLoad(&plan);
    let n = sizes.y;
    let rows = {{ rows }};
    let columns = {{ columns }};

    let down = thread / 16u;
    let along = thread % 16u;
    var sum: array<vec4<f32>, 4>;
    for (var r = 0u; r < 4u; r++) {
        sum[r] = vec4<f32>(0.0);
    }
    for (var start = 0u; start < sizes.x; start += STEP) {
        for (var at = thread; at < 256u; at += THREADS) {
            var part_a = vec4<f32>(0.0);
            var part_b = vec4<f32>(0.0);
            let t = start + at / 16u;
            for (var lane = 0u; lane < 4u; lane++) {
                let m = first_m + at % 16u * 4u + lane;
                let j = first_j + at % 16u * 4u + lane;
                if (t < sizes.x && m < rows) {
                    part_a[lane] = left(sample, n, m, t);
                }
                if (t < sizes.x && j < columns) {
                    part_b[lane] = right(sample, n, t, j);
                }
            }
            tile_a[at] = part_a;
            tile_b[at] = part_b;
        }
        workgroupBarrier();
        for (var t = 0u; t < STEP; t++) {
            let x = tile_a[t * 16u + down];
            let y = tile_b[t * 16u + along];
            sum[0] += x.x * y;
            sum[1] += x.y * y;
            sum[2] += x.z * y;
            sum[3] += x.w * y;
        }
        workgroupBarrier();
    }

    if (sizes.z == 1u) {
        for (var r = 0u; r < 4u; r++) {
            let m = first_m + down * 4u + r;
            for (var lane = 0u; lane < 4u; lane++) {
                let j = first_j + along * 4u + lane;
                if (m < rows && j < columns) {
                    let value = sum[r][lane];
                    {{ write }}
                }
            }
        }
    }
}
