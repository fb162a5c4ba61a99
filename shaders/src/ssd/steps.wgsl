// Step sizes, summed exponents and decays: one invocation a head of a chunk.
@group(0) @binding(0) var<storage, read_write> dt: array<f32>;      // [B, L, H]
@group(0) @binding(1) var<storage, read_write> a: array<f32>;       // [H]
@group(0) @binding(2) var<storage, read_write> dt_bias: array<f32>; // [H]
@group(0) @binding(3) var<storage, read_write> steps: array<Step>;  // [B, L, H]
@group(0) @binding(4) var<storage, read_write> info: array<u32>;    // B, L, H, chunks

{{ softplus }}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let number = (group.y * groups.x + group.x) * {{ threads }}u + thread;
  let len = info[1];
  let heads = info[2];
  let chunks = info[3];
  if (number >= info[0] * chunks * heads) { return; }
  let head = number % heads;
  let first = number / heads % chunks * 64u;
  let sample = number / (heads * chunks);
  var whole = 0.0;
  var rest = 0.0;
  let end = min(first + 64u, len);
  for (var t = first; t < end; t++) {
    let at = (sample * len + t) * heads + head;
    let raw = dt[at] + dt_bias[head];
    let delta = softplus(raw);
    // e^-90 is 0 to f32; bounded, the sums keep their low digits. Sums of sixteenths are exact.
    let exponent = max(delta * a[head], {{ least }});
    let step = round(exponent * 16.0) / 16.0;
    whole += step;
    rest += exponent - step;
    steps[at] = Step(whole, rest, delta, sigmoid(raw), exp(whole + rest), 0.0);
  }
  for (var t = first; t < end; t++) {
    let at = (sample * len + t) * heads + head;
    let step = steps[at];
    steps[at].to_state = exp((whole - step.whole) + (rest - step.rest)) * step.delta;
  }
}
