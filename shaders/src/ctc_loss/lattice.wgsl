// Forward variables (direction 0) and backward variables (direction 1, the same recursion from the last frame and the last state)
// of a sample, a workgroup for each direction, its states striped over the invocations. Both hold the emission of their own frame.
// A row is relative to the largest value of the row before it in its direction: numbers stay small however long the clip.
// A launch takes a segment of the frames.
@group(0) @binding(0) var<storage, read_write> logits: array<f32>;   // (batch, len, classes)
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;    // (batch, len, 2): the normaliser in two parts
@group(0) @binding(2) var<storage, read_write> targets: array<u32>;  // (batch, 2 + 2 longest): frames, labels, target, order
@group(0) @binding(3) var<storage, read_write> forward: array<f32>;  // (samples, rows, 2 longest + 1)
@group(0) @binding(4) var<storage, read_write> carried: array<f32>;  // (samples, directions, 3): total, lost, shift
@group(0) @binding(5) var<storage, read_write> loss: array<f32>;     // (batch)
//@ for second in 0..{{ seconds }}
@group(0) @binding(6) var<storage, read_write> backward: array<f32>; // (samples, rows, 2 longest + 1)
//@ end
// samples, len, classes, longest, first sample, rows, directions, blank, bits of infinity, samples * len, first step, steps
@group(0) @binding({{ info_binding }}) var<storage, read_write> info: array<u32>;

var<workgroup> steps: vec2<u32>;
// Two by turns, so that the next frame may write while a slow invocation still reads.
var<workgroup> largest: array<f32, {{ threads }} * 2>;

// Adapters without real branches would read both, so where there is one direction the other is not named.
fn value_at(direction: u32, at: u32) -> f32 {
  //@ for second in 0..{{ seconds }}
  if (direction == 1u) { return backward[at]; }
  //@ end
  return forward[at];
}

fn log_sum(a: f32, b: f32, c: f32) -> f32 {
  let top = max(a, max(b, c));
  return top + log(exp(a - top) + exp(b - top) + exp(c - top));
}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let number = group.y * groups.x + group.x;
  let real = number < info[0] * info[6];
  let direction = number % info[6];
  let local = min(number / info[6], info[0] - 1u);
  let sample = info[4] + local;
  let head = sample * (2u + 2u * info[3]);
  let count = targets[head];
  if (thread == 0u) {
    // A superfluous group has nothing to do.
    let last = select(0u, min(info[10] + info[11], count), real);
    steps = vec2<u32>(min(info[10], last), last);
  }
  let segment = workgroupUniformLoad(&steps);
  let states = 2u * targets[head + 1u] + 1u;
  let width = 2u * info[3] + 1u;
  // What the rows before the last have been made smaller by, and what the sum has lost to rounding.
  var total = 0.0;
  var lost = 0.0;
  // The largest value of the row before.
  var shift = 0.0;
  let slot = (local * info[6] + direction) * 3u;
  if (info[10] > 0u) {
    total = carried[slot];
    lost = carried[slot + 1u];
    shift = carried[slot + 2u];
  }
  for (var step = segment.x; step < segment.y; step++) {
    let parity = step % 2u * {{ threads }}u;
    let frame = select(step, count - 1u - step, direction == 1u);
    let before = select(frame - 1u, frame + 1u, direction == 1u);
    let row = (local * info[5] + frame % info[5]) * width;
    let old = (local * info[5] + before % info[5]) * width;
    if (step > 0u) {
      let term = shift - lost;
      let sum = total + term;
      lost = (sum - total) - term;
      total = sum;
    }
    let at_frame = 2u * (sample * info[1] + frame);
    let normaliser = vec2<f32>(stats[at_frame], stats[at_frame + 1u]);
    var best = NEVER;
    for (var i = thread; i < states; i += {{ threads }}u) {
      let state = select(i, states - 1u - i, direction == 1u);
      let label = label_of(sample, state);
      var into = select(NEVER, 0.0, i < 2u);
      if (step > 0u) {
        var one = NEVER;
        var two = NEVER;
        if (i > 0u) { one = value_at(direction, old + select(state - 1u, state + 1u, direction == 1u)); }
        // Past a blank, unless the labels round it are the same.
        if (i > 1u && state % 2u == 1u) {
          let other = select(state - 2u, state + 2u, direction == 1u);
          if (label_of(sample, other) != label) { two = value_at(direction, old + other); }
        }
        into = log_sum(value_at(direction, old + state), one, two) - shift;
      }
      let value = max(into + emission(sample * info[1] + frame, label, normaliser), NEVER);
      if (direction == 0u) { forward[row + state] = value; }
      //@ for second in 0..{{ seconds }}
      if (direction == 1u) { backward[row + state] = value; }
      //@ end
      best = max(best, value);
    }
    largest[parity + thread] = best;
    storageBarrier();
    workgroupBarrier();
    //@ for halving in 0..{{ halvings }}
    if (thread < ({{ threads }}u >> (@halvingu + 1u))) {
      let other = parity + thread + ({{ threads }}u >> (@halvingu + 1u));
      largest[parity + thread] = max(largest[parity + thread], largest[other]);
    }
    workgroupBarrier();
    //@ end
    best = largest[parity];
    shift = select(best, 0.0, best < HARDLY);
  }
  // Every invocation has read what an earlier segment left before the first barrier of a step.
  if (thread == 0u && real && segment.x < segment.y) {
    carried[slot] = total;
    carried[slot + 1u] = lost;
    carried[slot + 2u] = shift;
  }
  if (thread == 0u && real && direction == 0u && segment.y == count) {
    let infinite = bitcast<f32>(info[8]);
    var value = select(infinite, 0.0, states == 1u);
    if (count > 0u) {
      let end = (local * info[5] + (count - 1u) % info[5]) * width + states - 1u;
      var label = NEVER;
      if (states > 1u) { label = forward[end - 1u]; }
      let last = log_sum(forward[end], label, NEVER);
      value = select(-(last + total), infinite, last < HARDLY);
    }
    loss[sample] = value;
  }
}
