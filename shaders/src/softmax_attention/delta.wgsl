// Σ_p gradient · out of each row, beside its lse: what both backward kernels need of a row. One row an invocation.

{{ rows_of }}

@group(0) @binding(0) var<storage, read_write> out: array<{{ element }}>;      // [B, Lq, H, P]
@group(0) @binding(1) var<storage, read_write> gradient: array<{{ element }}>; // [B, Lq, H, P]
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;                // [B, Lq, H]
@group(0) @binding(3) var<storage, read_write> rows: array<vec2<f32>>;         // [B, Lq, H]: lse, delta
@group(0) @binding(4) var<storage, read_write> info: array<u32>;               // B * Lq * H

const P = {{ width }}u;
const P4 = {{ width4 }}u;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = (group_id.y * groups.x + group_id.x) * {{ threads }}u + thread;
    if (row < info[0]) {
        var delta = 0.0;
        for (var c = 0u; c < P4; c++) {
            delta += dot(load_out(row, c), load_gradient(row, c));
        }
        rows[row] = vec2<f32>(lse[row], delta);
    }
}
