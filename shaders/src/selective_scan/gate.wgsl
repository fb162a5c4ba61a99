// What the backward scan needs of each position and channel: dt and the gradient before the gate.

@group(0) @binding(0) var<storage, read_write> delta: array<f32>; // [B, L, D]
@group(0) @binding(1) var<storage, read_write> dy: array<f32>;    // [B, L, D]
@group(0) @binding(2) var<storage, read_write> work: array<f32>;  // A [N, D], D [D], bias [D], ..
@group(0) @binding(3) var<storage, read_write> dt: array<f32>;    // [B, L, D] softplus(delta + bias)
@group(0) @binding(4) var<storage, read_write> g: array<f32>;     // [B, L, D] dy silu(z)
//@ for once in 0..{{ gated }}
@group(0) @binding(5) var<storage, read_write> z: array<f32>;     // [B, L, D]
@group(0) @binding(6) var<storage, read_write> slope: array<f32>; // [B, L, D] dy silu'(z)
//@ end
@group(0) @binding({{ info }}) var<storage, read_write> info: array<u32>; // B, L, D, N

{{ softplus }}
{{ sigmoid }}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let width = info[2];
    let at = (group.y * groups.x + group.x) * {{ threads }}u + thread;
    if (at >= info[0] * info[1] * width) { return; }
    dt[at] = softplus(delta[at] + work[(info[3] + 1u) * width + at % width]);
    var gate = 1.0;
    //@ for once in 0..{{ gated }}
    let s = sigmoid(z[at]);
    gate = z[at] * s;
    slope[at] = dy[at] * s * (1.0 + z[at] * (1.0 - s));
    //@ end
    g[at] = dy[at] * gate;
}
