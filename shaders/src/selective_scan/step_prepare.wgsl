// What each channel brings to a step: dt, dt u, D u and the gate.

@group(0) @binding(0) var<storage, read_write> u: array<f32>;          // [B, D]
@group(0) @binding(1) var<storage, read_write> delta: array<f32>;      // [B, D]
@group(0) @binding(2) var<storage, read_write> delta_bias: array<f32>; // [D]
@group(0) @binding(3) var<storage, read_write> d: array<f32>;          // [D]
@group(0) @binding(4) var<storage, read_write> prepared: array<f32>;   // [B, D, 4]: dt, dt u, D u, silu(z)
//@ for once in 0..{{ gated }}
@group(0) @binding(5) var<storage, read_write> z: array<f32>;          // [B, D]
//@ end
@group(0) @binding({{ info }}) var<storage, read_write> info: array<u32>; // B, D, N

{{ softplus }}
{{ sigmoid }}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let width = info[1];
    let at = (group.y * groups.x + group.x) * {{ threads }}u + thread;
    if (at >= info[0] * width) { return; }
    let dt = softplus(delta[at] + delta_bias[at % width]);
    var gate = 1.0;
    //@ for once in 0..{{ gated }}
    gate = z[at] * sigmoid(z[at]);
    //@ end
    prepared[at * 4u] = dt;
    prepared[at * 4u + 1u] = dt * u[at];
    prepared[at * 4u + 2u] = d[at % width] * u[at];
    prepared[at * 4u + 3u] = gate;
}
