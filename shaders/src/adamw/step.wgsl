// One step of AdamW in place, one value an invocation.
@group(0) @binding(0) var<storage, read_write> param: array<f32>;    // (n)
@group(0) @binding(1) var<storage, read_write> gradient: array<f32>; // (n)
@group(0) @binding(2) var<storage, read_write> m: array<f32>;        // (n)
@group(0) @binding(3) var<storage, read_write> v: array<f32>;        // (n)
// n, then the bits of: decay, 1 - beta1, beta2, 1 - beta2, lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t), eps
@group(0) @binding(4) var<storage, read_write> info: array<u32>;     // (8)

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * {{ threads }}u + thread;
  if (i >= info[0]) { return; }
  let g = gradient[i];
  let first = m[i] + bitcast<f32>(info[2]) * (g - m[i]);
  let second = bitcast<f32>(info[3]) * v[i] + bitcast<f32>(info[4]) * g * g;
  let denominator = sqrt(second) * bitcast<f32>(info[6]) + bitcast<f32>(info[7]);
  m[i] = first;
  v[i] = second;
  param[i] = param[i] * bitcast<f32>(info[1]) - bitcast<f32>(info[5]) * first / denominator;
}
