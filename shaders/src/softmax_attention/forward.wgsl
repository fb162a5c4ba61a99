// Attention, one query row an invocation: the row, its running maximum, sum and result stay in registers while tiles of
// keys and values pass through workgroup memory. Weights live for four keys at a time.

{{ loads }}

@group(0) @binding(0) var<storage, read_write> query: array<{{ element }}>; // [B, Lq, H, P]
@group(0) @binding(1) var<storage, read_write> key: array<{{ element }}>;   // [B, Lk, H, P]
@group(0) @binding(2) var<storage, read_write> value: array<{{ element }}>; // [B, Lk, H, P]
@group(0) @binding(3) var<storage, read_write> result: array<{{ element }}>; // [B, Lq, H, P]
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;             // [B, Lq, H], base 2
// Lq, Lk, H, workgroups, blocks of a sample and head, scale as f32 bits; then [B] real queries, [B] real keys
@group(0) @binding(5) var<storage, read_write> info: array<u32>;

const CAUSAL = {{ causal }};
const P = {{ width }}u;
const P4 = {{ width4 }}u;
const TILE = {{ tile }}u;
const THREADS = {{ threads }}u;
const SIZES = 6u;

var<workgroup> plan: vec4<u32>;
var<workgroup> keys: array<vec4<f32>, {{ tile_vectors }}>;
var<workgroup> values: array<vec4<f32>, {{ tile_vectors }}>;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = group_id.y * groups.x + group_id.x;
    let queries_len = info[0];
    let keys_len = info[1];
    let heads = info[2];
    let blocks = info[4];
    let b = group / (heads * blocks);
    let h = group / blocks % heads;
    let first = group % blocks * THREADS;
    if (thread == 0u) {
        // (keys that any row of the group sees, real queries, real keys, whether the group exists)
        plan = vec4<u32>(0u);
        if (group < info[3]) {
            let batch = info[3] / (heads * blocks);
            let real_queries = min(info[SIZES + b], queries_len);
            let real_keys = min(info[SIZES + batch + b], keys_len);
            var end = real_keys;
            if (CAUSAL) {
                end = min(end, first + THREADS);
            }
            if (first >= real_queries) {
                end = 0u;
            }
            plan = vec4<u32>(end, real_queries, real_keys, 1u);
        }
    }
    // Uniform, so that the barriers below may stand in a loop over it.
    let sizes = workgroupUniformLoad(&plan);
    let i = first + thread;
    var visible = 0u;
    if (i < sizes.y) {
        visible = sizes.z;
        if (CAUSAL) {
            visible = min(visible, i + 1u);
        }
    }

    // Base 2: exp2 is what the hardware has.
    let scale = bitcast<f32>(info[5]) * 1.44269504;
    let row = (b * queries_len + i) * heads + h;
    var q: array<vec4<f32>, P4>;
    var o: array<vec4<f32>, P4>;
    for (var c = 0u; c < P4; c++) {
        q[c] = vec4<f32>(0.0);
        o[c] = vec4<f32>(0.0);
        if (visible > 0u) {
            q[c] = load_query(row, c) * scale;
        }
    }
    var largest = -3.0e38;
    var total = 0.0;

    for (var start = 0u; start < sizes.x; start += TILE) {
        for (var at = thread; at < TILE * P4; at += THREADS) {
            let j = start + at / P4;
            var k = vec4<f32>(0.0);
            var v = vec4<f32>(0.0);
            if (j < sizes.x) {
                let key_row = (b * keys_len + j) * heads + h;
                k = load_key(key_row, at % P4);
                v = load_value(key_row, at % P4);
            }
            keys[at] = k;
            values[at] = v;
        }
        workgroupBarrier();
        for (var j = 0u; j < TILE; j += 4u) {
            if (start + j < visible) {
                let at = j * P4;
                var s = vec4<f32>(0.0);
                for (var c = 0u; c < P4; c++) {
                    s += vec4<f32>(
                        dot(q[c], keys[at + c]),
                        dot(q[c], keys[at + P4 + c]),
                        dot(q[c], keys[at + 2u * P4 + c]),
                        dot(q[c], keys[at + 3u * P4 + c]),
                    );
                }
                let seen = vec4<u32>(start + j) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(visible);
                s = select(vec4<f32>(-3.0e38), s, seen);
                let peak = max(max(s.x, s.y), max(s.z, s.w));
                if (peak > largest) {
                    let shrink = exp2(largest - peak);
                    largest = peak;
                    total *= shrink;
                    for (var c = 0u; c < P4; c++) {
                        o[c] *= shrink;
                    }
                }
                let w = select(vec4<f32>(0.0), exp2(s - largest), seen);
                total += w.x + w.y + w.z + w.w;
                for (var c = 0u; c < P4; c++) {
                    o[c] += w.x * values[at + c] + w.y * values[at + P4 + c]
                        + w.z * values[at + 2u * P4 + c] + w.w * values[at + 3u * P4 + c];
                }
            }
        }
        workgroupBarrier();
    }

    if (sizes.w == 1u && i < queries_len) {
        var factor = 0.0;
        var logarithm = 0.0;
        if (visible > 0u) {
            factor = 1.0 / total;
            logarithm = largest + log2(total);
        }
        lse[row] = logarithm;
        for (var c = 0u; c < P4; c++) {
            store_result(row, c, o[c] * factor);
        }
    }
}
