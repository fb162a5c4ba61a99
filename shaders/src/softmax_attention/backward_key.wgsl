// Gradients of keys and values, one key row an invocation, over tiles of queries; weights are recomputed from the saved lse.

{{ loads }}

@group(0) @binding(0) var<storage, read_write> query: array<{{ element }}>;    // [B, Lq, H, P]
@group(0) @binding(1) var<storage, read_write> key: array<{{ element }}>;      // [B, Lk, H, P]
@group(0) @binding(2) var<storage, read_write> value: array<{{ element }}>;    // [B, Lk, H, P]
@group(0) @binding(3) var<storage, read_write> gradient: array<{{ element }}>; // [B, Lq, H, P]
@group(0) @binding(4) var<storage, read_write> rows: array<vec2<f32>>;         // [B, Lq, H]: lse (base 2), delta
@group(0) @binding(5) var<storage, read_write> dkey: array<{{ element }}>;     // [B, Lk, H, P]
@group(0) @binding(6) var<storage, read_write> dvalue: array<{{ element }}>;   // [B, Lk, H, P]
// Lq, Lk, H, workgroups, blocks of a sample and head, scale as f32 bits; then [B] real queries, [B] real keys
@group(0) @binding(7) var<storage, read_write> info: array<u32>;

const CAUSAL = {{ causal }};
const P = {{ width }}u;
const P4 = {{ width4 }}u;
const TILE = {{ tile }}u;
const THREADS = {{ threads }}u;
const SIZES = 6u;

var<workgroup> plan: vec4<u32>;
var<workgroup> queries: array<vec4<f32>, {{ tile_vectors }}>;
var<workgroup> gradients: array<vec4<f32>, {{ tile_vectors }}>;
var<workgroup> stats: array<vec2<f32>, {{ tile }}>;

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
        // (first query that sees a key of the group, end of the real queries, real keys, whether the group exists)
        plan = vec4<u32>(0u);
        if (group < info[3]) {
            let batch = info[3] / (heads * blocks);
            let real_keys = min(info[SIZES + batch + b], keys_len);
            var end = min(info[SIZES + b], queries_len);
            var begin = 0u;
            if (CAUSAL) {
                begin = first / TILE * TILE;
            }
            if (first >= real_keys) {
                end = 0u;
            }
            plan = vec4<u32>(begin, end, real_keys, 1u);
        }
    }
    let sizes = workgroupUniformLoad(&plan);
    let j = first + thread;
    let real = j < sizes.z;

    let scale = bitcast<f32>(info[5]);
    let row = (b * keys_len + j) * heads + h;
    var k: array<vec4<f32>, P4>;
    var v: array<vec4<f32>, P4>;
    var dk: array<vec4<f32>, P4>;
    var dv: array<vec4<f32>, P4>;
    for (var c = 0u; c < P4; c++) {
        k[c] = vec4<f32>(0.0);
        v[c] = vec4<f32>(0.0);
        dk[c] = vec4<f32>(0.0);
        dv[c] = vec4<f32>(0.0);
        if (real) {
            k[c] = load_key(row, c) * (scale * 1.44269504);
            v[c] = load_value(row, c);
        }
    }

    for (var start = sizes.x; start < sizes.y; start += TILE) {
        for (var at = thread; at < TILE * P4; at += THREADS) {
            let i = start + at / P4;
            var q = vec4<f32>(0.0);
            var g = vec4<f32>(0.0);
            if (i < sizes.y) {
                let query_row = (b * queries_len + i) * heads + h;
                q = load_query(query_row, at % P4);
                g = load_gradient(query_row, at % P4);
            }
            queries[at] = q;
            gradients[at] = g;
        }
        for (var at = thread; at < TILE; at += THREADS) {
            var stat = vec2<f32>(0.0);
            if (start + at < sizes.y) {
                stat = rows[(b * queries_len + start + at) * heads + h];
            }
            stats[at] = stat;
        }
        workgroupBarrier();
        if (real) {
            for (var t = 0u; t < TILE; t++) {
                let i = start + t;
                if (i < sizes.y && (!CAUSAL || j <= i)) {
                    let at = t * P4;
                    var s = 0.0;
                    var w = 0.0;
                    for (var c = 0u; c < P4; c++) {
                        s += dot(k[c], queries[at + c]);
                        w += dot(v[c], gradients[at + c]);
                    }
                    let p = exp2(s - stats[t].x);
                    let slope = p * (w - stats[t].y);
                    for (var c = 0u; c < P4; c++) {
                        dv[c] += p * gradients[at + c];
                        dk[c] += slope * queries[at + c];
                    }
                }
            }
        }
        workgroupBarrier();
    }

    if (sizes.w == 1u && j < keys_len) {
        for (var c = 0u; c < P4; c++) {
            store_dkey(row, c, dk[c] * scale);
            store_dvalue(row, c, dv[c]);
        }
    }
}
