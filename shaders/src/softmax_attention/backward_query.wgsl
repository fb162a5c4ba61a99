// Gradient of the queries, one query row an invocation; weights are recomputed from the saved lse.

{{ loads }}

@group(0) @binding(0) var<storage, read_write> query: array<{{ element }}>;    // [B, Lq, H, P]
@group(0) @binding(1) var<storage, read_write> key: array<{{ element }}>;      // [B, Lk, H, P]
@group(0) @binding(2) var<storage, read_write> value: array<{{ element }}>;    // [B, Lk, H, P]
@group(0) @binding(3) var<storage, read_write> gradient: array<{{ element }}>; // [B, Lq, H, P]
@group(0) @binding(4) var<storage, read_write> rows: array<vec2<f32>>;         // [B, Lq, H]: lse (base 2), delta
@group(0) @binding(5) var<storage, read_write> result: array<{{ element }}>;   // [B, Lq, H, P]
// Lq, Lk, H, workgroups, blocks of a sample and head, scale as f32 bits; then [B] real queries, [B] real keys
@group(0) @binding(6) var<storage, read_write> info: array<u32>;

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
    let sizes = workgroupUniformLoad(&plan);
    let i = first + thread;
    var visible = 0u;
    if (i < sizes.y) {
        visible = sizes.z;
        if (CAUSAL) {
            visible = min(visible, i + 1u);
        }
    }

    let scale = bitcast<f32>(info[5]);
    let row = (b * queries_len + i) * heads + h;
    var stat = vec2<f32>(0.0);
    if (visible > 0u) {
        stat = rows[row];
    }
    var q: array<vec4<f32>, P4>;
    var g: array<vec4<f32>, P4>;
    var d: array<vec4<f32>, P4>;
    for (var c = 0u; c < P4; c++) {
        q[c] = vec4<f32>(0.0);
        g[c] = vec4<f32>(0.0);
        d[c] = vec4<f32>(0.0);
        if (visible > 0u) {
            q[c] = load_query(row, c) * (scale * 1.44269504);
            g[c] = load_gradient(row, c);
        }
    }

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
        for (var j = 0u; j < TILE; j += 2u) {
            if (start + j < visible) {
                let at = j * P4;
                var s = vec2<f32>(0.0);
                var w = vec2<f32>(0.0);
                for (var c = 0u; c < P4; c++) {
                    s += vec2<f32>(dot(q[c], keys[at + c]), dot(q[c], keys[at + P4 + c]));
                    w += vec2<f32>(dot(g[c], values[at + c]), dot(g[c], values[at + P4 + c]));
                }
                let seen = vec2<u32>(start + j, start + j + 1u) < vec2<u32>(visible);
                let slope = select(vec2<f32>(0.0), exp2(s - stat.x) * (w - stat.y), seen);
                for (var c = 0u; c < P4; c++) {
                    d[c] += slope.x * keys[at + c] + slope.y * keys[at + P4 + c];
                }
            }
        }
        workgroupBarrier();
    }

    if (sizes.w == 1u && i < queries_len) {
        for (var c = 0u; c < P4; c++) {
            store_result(row, c, d[c] * scale);
        }
    }
}
