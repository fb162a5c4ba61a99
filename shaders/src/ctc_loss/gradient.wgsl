// Gradient of each sample's loss in its logits: softmax minus the occupancy of the labels, which is the share of
// e^(forward + backward - emission) over the states of a frame. One frame of a sample a workgroup.
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;   // (batch, len, classes)
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;    // (batch, len, 2): the normaliser in two parts
@group(0) @binding(2) var<storage, read_write> targets: array<u32>;  // (batch, 2 + 2 longest): frames, labels, target, order
@group(0) @binding(3) var<storage, read_write> forward: array<f32>;  // (samples, len, 2 longest + 1)
@group(0) @binding(4) var<storage, read_write> backward: array<f32>; // (samples, len, 2 longest + 1)
@group(0) @binding(5) var<storage, read_write> gradient: array<f32>; // (batch, len, classes)
// samples, len, classes, longest, first sample, rows, directions, blank, bits of infinity, samples * len
@group(0) @binding(6) var<storage, read_write> info: array<u32>;

var<workgroup> sums: array<f32, {{ threads }}>;
var<workgroup> blanks: array<f32, {{ threads }}>;

// The logarithm of the weight of all paths through a state, up to a term that a frame's states share.
fn through(local: u32, t: u32, state: u32, normaliser: vec2<f32>) -> f32 {
  let sample = info[4] + local;
  let at = (local * info[1] + t) * (2u * info[3] + 1u) + state;
  return forward[at] + backward[at] - emission(sample * info[1] + t, label_of(sample, state), normaliser);
}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let number = group.y * groups.x + group.x;
  let real = number < info[9];
  let place = min(number, info[9] - 1u);
  let local = place / info[1];
  let t = place % info[1];
  let sample = info[4] + local;
  let head = sample * (2u + 2u * info[3]);
  let at_frame = 2u * (sample * info[1] + t);
  let normaliser = vec2<f32>(stats[at_frame], stats[at_frame + 1u]);
  let labels = targets[head + 1u];
  // Padding has no states, and superfluous groups write nothing; all invocations meet at every barrier.
  let states = select(0u, 2u * labels + 1u, real && t < targets[head]);

  var top = NEVER;
  for (var state = thread; state < states; state += {{ threads }}u) { top = max(top, through(local, t, state, normaliser)); }
  sums[thread] = top;
  workgroupBarrier();
  for (var half = {{ threads }}u / 2u; half > 0u; half /= 2u) {
    if (thread < half) { sums[thread] = max(sums[thread], sums[thread + half]); }
    workgroupBarrier();
  }
  top = sums[0];
  workgroupBarrier();
  // No path at all: an infinite loss, without a gradient.
  let counts = top >= HARDLY;

  var sum = 0.0;
  var blank = 0.0;
  for (var state = thread; state < states; state += {{ threads }}u) {
    let weight = exp(through(local, t, state, normaliser) - top);
    sum += weight;
    if (state % 2u == 0u) { blank += weight; }
  }
  sums[thread] = sum;
  blanks[thread] = blank;
  workgroupBarrier();
  for (var half = {{ threads }}u / 2u; half > 0u; half /= 2u) {
    if (thread < half) {
      sums[thread] += sums[thread + half];
      blanks[thread] += blanks[thread + half];
    }
    workgroupBarrier();
  }
  sum = sums[0];

  let row = (sample * info[1] + t) * info[2];
  if (real) {
    for (var label = thread; label < info[2]; label += {{ threads }}u) {
      var value = 0.0;
      if (counts) {
        value = exp(emission(sample * info[1] + t, label, normaliser));
        if (label == info[7]) { value -= blanks[0] / sum; }
      }
      gradient[row + label] = value;
    }
  }
  storageBarrier();
  workgroupBarrier();
  // Equal labels lie in a row in the order of the labels; the invocation of the first takes them all.
  if (counts) {
    let order = head + 2u + info[3];
    for (var first = thread; first < labels; first += {{ threads }}u) {
      let label = targets[head + 2u + targets[order + first]];
      if (first > 0u && targets[head + 2u + targets[order + first - 1u]] == label) { continue; }
      var share = 0.0;
      for (var i = first; i < labels; i++) {
        let position = targets[order + i];
        if (targets[head + 2u + position] != label) { break; }
        share += exp(through(local, t, 2u * position + 1u, normaliser) - top);
      }
      gradient[row + label] -= share / sum;
    }
  }
}
