// Features elu(x) + 1 of every value.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // [B, L, H, P]
@group(0) @binding(1) var<storage, read_write> result: array<f32>; // [B, L, H, P]
@group(0) @binding(2) var<storage, read_write> info: array<u32>;   // B * L * H * P

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = (group_id.y * groups.x + group_id.x) * {{ threads }}u + thread;
    if (at < info[0]) {
        result[at] = select(exp(min(x[at], 0.0)), x[at] + 1.0, x[at] > 0.0);
    }
}
