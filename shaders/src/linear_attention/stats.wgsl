// What the backward kernels need of a row: 1 / normaliser, and the gradient of the normaliser, −(gradient · y) / normaliser.
@group(0) @binding(0) var<storage, read_write> gradient: array<f32>;    // [B, L, H, P]
@group(0) @binding(1) var<storage, read_write> y: array<f32>;           // [B, L, H, P]
@group(0) @binding(2) var<storage, read_write> normaliser: array<f32>;  // [B, L, H]
@group(0) @binding(3) var<storage, read_write> stats: array<vec2<f32>>; // [B, L, H]
@group(0) @binding(4) var<storage, read_write> info: array<u32>;        // B * L * H

const P = {{ width }}u;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = (group_id.y * groups.x + group_id.x) * {{ threads }}u + thread;
    if (row < info[0]) {
        var sum = 0.0;
        for (var p = 0u; p < P; p++) {
            sum += gradient[row * P + p] * y[row * P + p];
        }
        let factor = 1.0 / normaliser[row];
        stats[row] = vec2<f32>(factor, -sum * factor);
    }
}
