// y[t] = bias + sum over lags of weight[width - 1 - lag] x[t - lag], then silu where asked for. An invocation takes one channel
// of a chunk of positions, neighbours take neighbouring channels.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // (batch, len, channels)
@group(0) @binding(1) var<storage, read_write> weight: array<f32>; // (channels, width)
@group(0) @binding(2) var<storage, read_write> bias: array<f32>; // (channels)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;      // (batch, len, channels)
{{ state_binding }}
@group(0) @binding({{ info_binding }}) var<storage, read_write> info: array<u32>; // batch, len, channels, positions of a chunk

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let place = place_of(group.y * groups.x + group.x, thread);
  if (!place.exists) { return; }
  let len = info[1];
  let channels = info[2];
  let channel = place.channel;
  let sample = place.sample;
  let first = place.first;
  let last = place.last;
  let start = bias[channel];
  // tap_LAG weighs x[t - LAG]; h_LAG holds x[t - 1 - LAG] when position t begins.
  //@ for lag in 0..{{ width }}
  let tap_@lag = weight[channel * {{ width }}u + {{ past }}u - @lagu];
  var h_@lag = 0.0;
  //@ end
  //@ for lag in 0..{{ past }}
  h_@lag = input(sample, channel, first + {{ past }}u - 1u - @lagu);
  //@ end
  for (var t = first; t < last; t++) {
    let at = (sample * len + t) * channels + channel;
    var sum = start;
    var value = x[at];
    // The window moves on as it is read.
    //@ for lag in 0..{{ width }}
    sum += tap_@lag * value;
    { let older = h_@lag; h_@lag = value; value = older; }
    //@ end
    y[at] = {{ activation }};
  }
}
