// One position of the scan, one invocation a channel.

@group(0) @binding(0) var<storage, read_write> prepared: array<f32>; // [B, D, 4]: dt, dt u, D u, silu(z)
@group(0) @binding(1) var<storage, read_write> a: array<f32>;        // [D, N]
@group(0) @binding(2) var<storage, read_write> b: array<f32>;        // [B, N]
@group(0) @binding(3) var<storage, read_write> c: array<f32>;        // [B, N]
@group(0) @binding(4) var<storage, read_write> state: array<f32>;    // [B, D, N]
@group(0) @binding(5) var<storage, read_write> next: array<f32>;     // [B, D, N]
@group(0) @binding(6) var<storage, read_write> y: array<f32>;        // [B, D]
@group(0) @binding(7) var<storage, read_write> info: array<u32>;     // B, D, N

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let width = info[1];
    let states = info[2];
    let at = (group.y * groups.x + group.x) * {{ threads }}u + thread;
    if (at >= info[0] * width) { return; }
    let channel = at % width;
    let sample = at / width;
    let dt = prepared[at * 4u];
    let value = prepared[at * 4u + 1u];
    var sum = prepared[at * 4u + 2u];
    for (var n = 0u; n < states; n++) {
        let h = exp(dt * a[channel * states + n]) * state[at * states + n] + value * b[sample * states + n];
        next[at * states + n] = h;
        sum += h * c[sample * states + n];
    }
    y[at] = sum * prepared[at * 4u + 3u];
}
