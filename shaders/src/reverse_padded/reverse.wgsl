// y[b, t] = x[b, n - 1 - t] for t below n, the sample's length, else zero: a value an invocation.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;    // (batch, len, channels)
@group(0) @binding(1) var<storage, read_write> y: array<f32>;    // (batch, len, channels)
@group(0) @binding(2) var<storage, read_write> info: array<u32>; // values, len, channels, then the length of each sample

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = (group.y * groups.x + group.x) * {{ threads }}u + thread;
  if (at >= info[0]) { return; }
  let channels = info[2];
  let row = at / channels;
  let t = row % info[1];
  let n = info[3u + row / info[1]];
  var value = 0.0;
  if (t < n) { value = x[(row + n - 1u - 2u * t) * channels + at % channels]; }
  y[at] = value;
}
