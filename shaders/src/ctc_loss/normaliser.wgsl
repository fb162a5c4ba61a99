// The two parts of a row's log softmax normaliser: its largest value and the logarithm of the sum of e^(x - largest). One row a
// workgroup.
@group(0) @binding(0) var<storage, read_write> logits: array<f32>; // (rows, classes)
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;  // (rows, 2)
@group(0) @binding(2) var<storage, read_write> info: array<u32>;   // rows, classes

var<workgroup> shared_values: array<f32, {{ threads }}>;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let classes = info[1];
  let number = group.y * groups.x + group.x;
  // A superfluous group works on the last row and writes nothing, so that all invocations meet at every barrier.
  let row = min(number, info[0] - 1u);
  var largest = -3e38;
  for (var i = thread; i < classes; i += {{ threads }}u) { largest = max(largest, logits[row * classes + i]); }
  shared_values[thread] = largest;
  workgroupBarrier();
  for (var half = {{ threads }}u / 2u; half > 0u; half /= 2u) {
    if (thread < half) { shared_values[thread] = max(shared_values[thread], shared_values[thread + half]); }
    workgroupBarrier();
  }
  largest = shared_values[0];
  workgroupBarrier();
  var sum = 0.0;
  for (var i = thread; i < classes; i += {{ threads }}u) { sum += exp(logits[row * classes + i] - largest); }
  shared_values[thread] = sum;
  workgroupBarrier();
  for (var half = {{ threads }}u / 2u; half > 0u; half /= 2u) {
    if (thread < half) { shared_values[thread] += shared_values[thread + half]; }
    workgroupBarrier();
  }
  if (thread == 0u && number < info[0]) {
    stats[2u * row] = largest;
    stats[2u * row + 1u] = log(shared_values[0]);
  }
}
