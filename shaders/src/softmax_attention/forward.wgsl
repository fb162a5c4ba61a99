// Attention, {{ rows }} query rows an invocation: the rows, their running maxima, sums and results stay in registers while
// tiles of keys and values pass through workgroup memory. Weights live for {{ keys }} keys at a time.

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
const BLOCK = {{ threads }}u * {{ rows }}u;
const SIZES = 6u;
const LOWEST = -3.0e38;

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
    let first = group % blocks * BLOCK;
    if (thread == 0u) {
        // (keys that any row of the group sees, real queries, real keys, whether the group exists)
        plan = vec4<u32>(0u);
        if (group < info[3]) {
            let batch = info[3] / (heads * blocks);
            let real_queries = min(info[SIZES + b], queries_len);
            let real_keys = min(info[SIZES + batch + b], keys_len);
            var end = real_keys;
            if (CAUSAL) {
                end = min(end, first + BLOCK);
            }
            if (first >= real_queries) {
                end = 0u;
            }
            plan = vec4<u32>(end, real_queries, real_keys, 1u);
        }
    }
    // Uniform, so that the barriers below may stand in a loop over it.
    let sizes = workgroupUniformLoad(&plan);
    // Base 2: exp2 is what the hardware has.
    let scale = bitcast<f32>(info[5]) * 1.44269504;
    var most = 0u;
    //@ for r in 0..{{ rows }}
    let i_@r = first + thread + @ru * THREADS;
    let row_@r = (b * queries_len + i_@r) * heads + h;
    var visible_@r = 0u;
    if (i_@r < sizes.y) {
        visible_@r = sizes.z;
        if (CAUSAL) {
            visible_@r = min(visible_@r, i_@r + 1u);
        }
    }
    most = max(most, visible_@r);
    var largest_@r = LOWEST;
    var total_@r = 0.0;
    //@ for c in 0..{{ width4 }}
    var q_@r_@c = vec4<f32>(0.0);
    var o_@r_@c = vec4<f32>(0.0);
    //@ end
    if (visible_@r > 0u) {
        //@ for c in 0..{{ width4 }}
        q_@r_@c = load_query(row_@r, @cu) * scale;
        //@ end
    }
    //@ end

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
        for (var j = 0u; j < TILE; j += {{ keys }}u) {
            if (start + j < most) {
                let at = j * P4;
                //@ for r in 0..{{ rows }}
                //@ for k in 0..{{ keys }}
                var s_@r_@k = 0.0;
                //@ end
                //@ end
                //@ for k in 0..{{ keys }}
                //@ for c in 0..{{ width4 }}
                let k_@k_@c = keys[at + @ku * P4 + @cu];
                //@ for r in 0..{{ rows }}
                s_@r_@k += dot(q_@r_@c, k_@k_@c);
                //@ end
                //@ end
                //@ end
                //@ for r in 0..{{ rows }}
                var peak_@r = largest_@r;
                //@ for k in 0..{{ keys }}
                s_@r_@k = select(LOWEST, s_@r_@k, start + j + @ku < visible_@r);
                peak_@r = max(peak_@r, s_@r_@k);
                //@ end
                let shrink_@r = exp2(largest_@r - peak_@r);
                largest_@r = peak_@r;
                total_@r *= shrink_@r;
                //@ for c in 0..{{ width4 }}
                o_@r_@c *= shrink_@r;
                //@ end
                //@ for k in 0..{{ keys }}
                let w_@r_@k = select(0.0, exp2(s_@r_@k - peak_@r), start + j + @ku < visible_@r);
                total_@r += w_@r_@k;
                //@ end
                //@ end
                //@ for k in 0..{{ keys }}
                //@ for c in 0..{{ width4 }}
                let v_@k_@c = values[at + @ku * P4 + @cu];
                //@ for r in 0..{{ rows }}
                o_@r_@c += w_@r_@k * v_@k_@c;
                //@ end
                //@ end
                //@ end
            }
        }
        workgroupBarrier();
    }

    //@ for r in 0..{{ rows }}
    if (sizes.w == 1u && i_@r < queries_len) {
        var factor = 0.0;
        var logarithm = 0.0;
        if (visible_@r > 0u) {
            factor = 1.0 / total_@r;
            logarithm = largest_@r + log2(total_@r);
        }
        lse[row_@r] = logarithm;
        //@ for c in 0..{{ width4 }}
        store_result(row_@r, @cu, o_@r_@c * factor);
        //@ end
    }
    //@ end
}
