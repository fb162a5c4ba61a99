// Gradients of keys and values, {{ rows }} key rows an invocation, over tiles of queries; weights are recomputed from the
// saved lse.

{{ rows_of }}

@group(0) @binding(0) var<storage, read_write> query: array<{{ element }}>;    // [B, Lq, H, P]
@group(0) @binding(1) var<storage, read_write> key: array<{{ element }}>;      // [B, Lk, H, P]
@group(0) @binding(2) var<storage, read_write> value: array<{{ element }}>;    // [B, Lk, H, P]
@group(0) @binding(3) var<storage, read_write> gradient: array<{{ element }}>; // [B, Lq, H, P]
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<f32>>;        // [B, Lq, H]: lse (base 2), delta
@group(0) @binding(5) var<storage, read_write> dkey: array<{{ element }}>;     // [B, Lk, H, P]
@group(0) @binding(6) var<storage, read_write> dvalue: array<{{ element }}>;   // [B, Lk, H, P]
@group(0) @binding(7) var<storage, read_write> info: array<u32>; // as in tiling.wgsl

var<workgroup> queries: array<vec4<f32>, {{ tile_vectors }}>;
var<workgroup> gradients: array<vec4<f32>, {{ tile_vectors }}>;
var<workgroup> tile_stats: array<vec2<f32>, {{ tile }}>;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let place = place_of(group_id, groups);
    if (thread == 0u) {
        plan = plan_keys(place);
    }
    // Uniform, so that the barriers below may stand in a loop over it.
    let sizes = workgroupUniformLoad(&plan);
    let scale = bitcast<f32>(info[5]);
    //@ for r in 0..{{ rows }}
    let j_@r = place.first + thread + @ru * THREADS;
    let row_@r = (place.b * place.keys_len + j_@r) * place.heads + place.h;
    //@ for c in 0..{{ width4 }}
    var k_@r_@c = vec4<f32>(0.0);
    var v_@r_@c = vec4<f32>(0.0);
    var dk_@r_@c = vec4<f32>(0.0);
    var dv_@r_@c = vec4<f32>(0.0);
    //@ end
    if (j_@r < sizes.z) {
        //@ for c in 0..{{ width4 }}
        k_@r_@c = load_key(row_@r, @cu) * (scale * 1.44269504);
        v_@r_@c = load_value(row_@r, @cu);
        //@ end
    }
    //@ end

    for (var start = sizes.x; start < sizes.y; start += TILE) {
        for (var at = thread; at < TILE * P4; at += THREADS) {
            let i = start + at / P4;
            var q = vec4<f32>(0.0);
            var g = vec4<f32>(0.0);
            if (i < sizes.y) {
                let query_row = (place.b * place.queries_len + i) * place.heads + place.h;
                q = load_query(query_row, at % P4);
                g = load_gradient(query_row, at % P4);
            }
            queries[at] = q;
            gradients[at] = g;
        }
        for (var at = thread; at < TILE; at += THREADS) {
            var stat = vec2<f32>(0.0);
            if (start + at < sizes.y) {
                stat = stats[(place.b * place.queries_len + start + at) * place.heads + place.h];
            }
            tile_stats[at] = stat;
        }
        workgroupBarrier();
        for (var t = 0u; t < TILE; t++) {
            let i = start + t;
            if (i < sizes.y) {
                let at = t * P4;
                let stat = tile_stats[t];
                //@ for r in 0..{{ rows }}
                var s_@r = 0.0;
                var w_@r = 0.0;
                //@ end
                //@ for c in 0..{{ width4 }}
                let q_@c = queries[at + @cu];
                let g_@c = gradients[at + @cu];
                //@ for r in 0..{{ rows }}
                s_@r += dot(k_@r_@c, q_@c);
                w_@r += dot(v_@r_@c, g_@c);
                //@ end
                //@ end
                //@ for r in 0..{{ rows }}
                let p_@r = select(0.0, exp2(s_@r - stat.x), j_@r < sizes.z && (!CAUSAL || j_@r <= i));
                let slope_@r = p_@r * (w_@r - stat.y);
                //@ end
                //@ for c in 0..{{ width4 }}
                //@ for r in 0..{{ rows }}
                dv_@r_@c += p_@r * g_@c;
                dk_@r_@c += slope_@r * q_@c;
                //@ end
                //@ end
            }
        }
        workgroupBarrier();
    }

    //@ for r in 0..{{ rows }}
    if (sizes.w == 1u && j_@r < place.keys_len) {
        //@ for c in 0..{{ width4 }}
        store_dkey(row_@r, @cu, dk_@r_@c * scale);
        store_dvalue(row_@r, @cu, dv_@r_@c);
        //@ end
    }
    //@ end
}
