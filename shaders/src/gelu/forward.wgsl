// y = x Phi(x), one value an invocation.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;    // (n)
@group(0) @binding(1) var<storage, read_write> y: array<f32>;    // (n)
@group(0) @binding(2) var<storage, read_write> info: array<u32>; // n

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * {{ threads }}u + thread;
  if (i >= info[0]) { return; }
  y[i] = x[i] * normal(x[i]).x;
}
