// Decay and step size of each head for one position.
@group(0) @binding(0) var<storage, read_write> dt: array<f32>;      // [B, H]
@group(0) @binding(1) var<storage, read_write> a: array<f32>;       // [H]
@group(0) @binding(2) var<storage, read_write> dt_bias: array<f32>; // [H]
@group(0) @binding(3) var<storage, read_write> steps: array<f32>;   // [B, H, 2]: decay, step size
@group(0) @binding(4) var<storage, read_write> info: array<u32>;    // B * H, H

{{ softplus }}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let number = (group.y * groups.x + group.x) * {{ threads }}u + thread;
  if (number >= info[0]) { return; }
  let head = number % info[1];
  let delta = softplus(dt[number] + dt_bias[head]);
  steps[number * 2u] = exp(max(delta * a[head], {{ least }}));
  steps[number * 2u + 1u] = delta;
}
