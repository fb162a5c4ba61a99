// Attention, {{ rows }} query rows an invocation: the rows, their running maxima, sums and results stay in registers while
// tiles of keys and values pass through workgroup memory. Weights live for {{ keys }} keys at a time.

{{ rows_of }}

@group(0) @binding(0) var<storage, read_write> query: array<{{ element }}>; // [B, Lq, H, P]
@group(0) @binding(1) var<storage, read_write> key: array<{{ element }}>;   // [B, Lk, H, P]
@group(0) @binding(2) var<storage, read_write> value: array<{{ element }}>; // [B, Lk, H, P]
@group(0) @binding(3) var<storage, read_write> result: array<{{ element }}>; // [B, Lq, H, P]
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;             // [B, Lq, H], base 2
@group(0) @binding(5) var<storage, read_write> info: array<u32>; // as in tiling.wgsl

const LOWEST = -3.0e38;

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
    // Base 2: exp2 is what the hardware has.
    let scale = bitcast<f32>(info[5]) * 1.44269504;
    var most = 0u;
    //@ for r in 0..{{ rows }}
    let i_@r = place.first + thread + @ru * THREADS;
    let row_@r = (place.b * place.queries_len + i_@r) * place.heads + place.h;
    let visible_@r = visible_keys(i_@r, sizes);
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
        bring_keys(place, start, sizes.x, thread);
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
    if (sizes.w == 1u && i_@r < place.queries_len) {
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
