// One stage of a sum: a workgroup adds up a block of values, always in the same order.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;    // (values)
@group(0) @binding(1) var<storage, read_write> sums: array<f32>; // (blocks)
@group(0) @binding(2) var<storage, read_write> info: array<u32>; // values, blocks

const BLOCK = {{ block }}u;

var<workgroup> partial: array<f32, {{ threads }}>;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let number = group.y * groups.x + group.x;
  let first = number * BLOCK;
  let end = min(first + BLOCK, info[0]);
  var sum = 0.0;
  for (var at = first + thread; at < end; at += {{ threads }}u) {
    let value = x[at];
    sum += {{ term }};
  }
  partial[thread] = sum;
  workgroupBarrier();
  for (var half = {{ threads }}u / 2u; half > 0u; half /= 2u) {
    if (thread < half) { partial[thread] += partial[thread + half]; }
    workgroupBarrier();
  }
  if (thread == 0u && number < info[1]) { sums[number] = partial[0]; }
}
