// Gathers what does not change along a channel's sequence, and B and C, in one buffer, so that the scan fits eight bindings.

@group(0) @binding(0) var<storage, read_write> a: array<f32>;          // [D, N]
@group(0) @binding(1) var<storage, read_write> d: array<f32>;          // [D]
@group(0) @binding(2) var<storage, read_write> delta_bias: array<f32>; // [D]
@group(0) @binding(3) var<storage, read_write> b: array<f32>;          // [B, L, N]
@group(0) @binding(4) var<storage, read_write> c: array<f32>;          // [B, L, N]
@group(0) @binding(5) var<storage, read_write> work: array<f32>;       // A [N, D], D [D], bias [D], B [B, L, N], C [B, L, N]
@group(0) @binding(6) var<storage, read_write> info: array<u32>;       // B, L, D, N

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let width = info[2];
    let state = info[3];
    let rows = info[0] * info[1] * state;
    let parameters = (state + 2u) * width;
    let at = (group.y * groups.x + group.x) * {{ threads }}u + thread;
    if (at < state * width) {
        work[at] = a[at % width * state + at / width];
    } else if (at < (state + 1u) * width) {
        work[at] = d[at - state * width];
    } else if (at < parameters) {
        work[at] = delta_bias[at - (state + 1u) * width];
    } else if (at < parameters + rows) {
        work[at] = b[at - parameters];
    } else if (at < parameters + 2u * rows) {
        work[at] = c[at - parameters - rows];
    }
}
