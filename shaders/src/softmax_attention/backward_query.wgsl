// Gradient of the queries, {{ rows }} query rows an invocation; weights are recomputed from the saved lse.

{{ rows_of }}

@group(0) @binding(0) var<storage, read_write> query: array<{{ element }}>;    // [B, Lq, H, P]
@group(0) @binding(1) var<storage, read_write> key: array<{{ element }}>;      // [B, Lk, H, P]
@group(0) @binding(2) var<storage, read_write> value: array<{{ element }}>;    // [B, Lk, H, P]
@group(0) @binding(3) var<storage, read_write> gradient: array<{{ element }}>; // [B, Lq, H, P]
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<f32>>;        // [B, Lq, H]: lse (base 2), delta
@group(0) @binding(5) var<storage, read_write> result: array<{{ element }}>;   // [B, Lq, H, P]
@group(0) @binding(6) var<storage, read_write> info: array<u32>; // as in tiling.wgsl

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let place = place_of(group_id, groups);
    if (thread == 0u) {
        plan = plan_queries(place);
    }
    // Uniform, so that the barriers below may stand in a loop over it.
    let sizes = workgroupUniformLoad(&plan);
    let scale = bitcast<f32>(info[5]);
    var most = 0u;
    //@ for r in 0..{{ rows }}
    let i_@r = place.first + thread + @ru * THREADS;
    let row_@r = (place.b * place.queries_len + i_@r) * place.heads + place.h;
    let visible_@r = visible_keys(i_@r, sizes);
    most = max(most, visible_@r);
    var stat_@r = vec2<f32>(0.0);
    //@ for c in 0..{{ width4 }}
    var q_@r_@c = vec4<f32>(0.0);
    var g_@r_@c = vec4<f32>(0.0);
    var d_@r_@c = vec4<f32>(0.0);
    //@ end
    if (visible_@r > 0u) {
        stat_@r = stats[row_@r];
        //@ for c in 0..{{ width4 }}
        q_@r_@c = load_query(row_@r, @cu) * (scale * 1.44269504);
        g_@r_@c = load_gradient(row_@r, @cu);
        //@ end
    }
    //@ end

    for (var start = 0u; start < sizes.x; start += TILE) {
        bring_keys(place, start, sizes.x, thread);
        workgroupBarrier();
        for (var j = 0u; j < TILE; j++) {
            if (start + j < most) {
                let at = j * P4;
                //@ for r in 0..{{ rows }}
                var s_@r = 0.0;
                var w_@r = 0.0;
                //@ end
                //@ for c in 0..{{ width4 }}
                let k_@c = keys[at + @cu];
                let v_@c = values[at + @cu];
                //@ for r in 0..{{ rows }}
                s_@r += dot(q_@r_@c, k_@c);
                w_@r += dot(g_@r_@c, v_@c);
                //@ end
                //@ end
                //@ for r in 0..{{ rows }}
                let slope_@r = select(0.0, exp2(s_@r - stat_@r.x) * (w_@r - stat_@r.y), start + j < visible_@r);
                //@ end
                //@ for c in 0..{{ width4 }}
                //@ for r in 0..{{ rows }}
                d_@r_@c += slope_@r * k_@c;
                //@ end
                //@ end
            }
        }
        workgroupBarrier();
    }

    //@ for r in 0..{{ rows }}
    if (sizes.w == 1u && i_@r < place.queries_len) {
        //@ for c in 0..{{ width4 }}
        store_result(row_@r, @cu, d_@r_@c * scale);
        //@ end
    }
    //@ end
}
