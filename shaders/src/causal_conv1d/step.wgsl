// One position: y = bias + sum over j of weight[j] (state, x)[j], and the state moved on by one. An invocation takes one channel
// of one sample.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // (batch, channels)
@group(0) @binding(1) var<storage, read_write> weight: array<f32>; // (channels, width)
@group(0) @binding(2) var<storage, read_write> bias: array<f32>; // (channels)
@group(0) @binding(3) var<storage, read_write> state: array<f32>;  // (batch, channels, width - 1)
@group(0) @binding(4) var<storage, read_write> y: array<f32>;      // (batch, channels)
@group(0) @binding(5) var<storage, read_write> next: array<f32>;   // (batch, channels, width - 1)
@group(0) @binding(6) var<storage, read_write> info: array<u32>; // batch x channels, channels

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = (group.y * groups.x + group.x) * {{ threads }}u + thread;
  if (at >= info[0]) { return; }
  let channel = at % info[1];
  let value = x[at];
  var sum = bias[channel] + weight[channel * {{ width }}u + {{ past }}u] * value;
  for (var j = 0u; j < {{ past }}u; j++) {
    let input = state[at * {{ past }}u + j];
    sum += weight[channel * {{ width }}u + j] * input;
    if (j > 0u) { next[at * {{ past }}u + j - 1u] = input; }
  }
  next[at * {{ past }}u + {{ past }}u - 1u] = value;
  y[at] = {{ activation }};
}
