// dx, and the first stage of dweight and dbias, whose second is the column sum of `partial`. An invocation takes one channel of a
// chunk of positions and computes dz, the gradient before silu, up to width - 1 positions past its end, where dx needs it.
//   dx[t] = sum over lags of weight[width - 1 - lag] dz[t + lag]
//   dweight[width - 1 - lag] = sum over t of dz[t] x[t - lag], dbias = sum over t of dz[t]
@group(0) @binding(0) var<storage, read_write> x: array<f32>;       // (batch, len, channels)
@group(0) @binding(1) var<storage, read_write> weight: array<f32>;  // (channels, width)
@group(0) @binding(2) var<storage, read_write> bias: array<f32>; // (channels)
@group(0) @binding(3) var<storage, read_write> dy: array<f32>;      // (batch, len, channels)
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;      // (batch, len, channels)
@group(0) @binding(5) var<storage, read_write> partial: array<f32>; // (batch x chunks, width + 1, channels): dweight, dbias
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
  // w_NUMBER is a weight in the order of memory, tap_LAG weighs x[t - LAG]. When position t begins, h_LAG holds x[t - 1 - LAG] and
  // g_LAG holds dz[t - 1 - LAG].
  //@ for lag in 0..{{ width }}
  let w_@lag = weight[channel * {{ width }}u + @lagu];
  let tap_@lag = weight[channel * {{ width }}u + {{ past }}u - @lagu];
  var h_@lag = 0.0;
  var g_@lag = 0.0;
  var d_@lag = 0.0;
  //@ end
  //@ for lag in 0..{{ past }}
  h_@lag = input(sample, channel, first + {{ past }}u - 1u - @lagu);
  //@ end
  var total = 0.0;
  for (var t = first; t < last + {{ past }}u; t++) {
    let at = (sample * len + t) * channels + channel;
    var dz = 0.0;
    if (t < len) {
      var sum = start;
      var value = x[at];
      //@ for lag in 0..{{ width }}
      sum += tap_@lag * value;
      { let older = h_@lag; h_@lag = value; value = older; }
      //@ end
      dz = dy[at] * {{ slope }};
    }
    if (t < last) {
      total += dz;
      //@ for lag in 0..{{ width }}
      d_@lag += dz * h_@lag;
      //@ end
    }
    var gradient = 0.0;
    //@ for lag in 0..{{ width }}
    gradient += w_@lag * dz;
    { let older = g_@lag; g_@lag = dz; dz = older; }
    //@ end
    if (t >= first + {{ past }}u) { dx[at - {{ past }}u * channels] = gradient; }
  }
  let row = place.block * {{ width }}u + place.block;
  //@ for lag in 0..{{ width }}
  partial[(row + {{ past }}u - @lagu) * channels + channel] = d_@lag;
  //@ end
  partial[(row + {{ width }}u) * channels + channel] = total;
}
