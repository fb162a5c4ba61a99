// y = weight g / sqrt(mean(g^2) + eps), g = x z sigmoid(z), one group of a row a workgroup.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // (rows, groups, width)
@group(0) @binding(1) var<storage, read_write> z: array<f32>;      // (rows, groups, width)
@group(0) @binding(2) var<storage, read_write> weight: array<f32>; // (groups, width)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;      // (rows, groups, width)
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;  // (rows, groups): 1 / sqrt(mean(g^2) + eps)
@group(0) @binding(5) var<storage, read_write> info: array<u32>;   // rows * groups, groups, width, bits of eps

var<workgroup> sums: array<f32, {{ threads }}>;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let slices = info[0];
  let width = info[2];
  let number = group.y * groups.x + group.x;
  // A superfluous group works on the last slice and writes nothing, so that all invocations meet at every barrier.
  let slice = min(number, slices - 1u);
  let start = slice * width;
  let column = slice % info[1] * width;
  var sum = 0.0;
  for (var i = thread; i < width; i += {{ threads }}u) {
    let gate = z[start + i];
    let g = x[start + i] * (gate * sigmoid(gate));
    sum += g * g;
  }
  sums[thread] = sum;
  workgroupBarrier();
  for (var half = {{ threads }}u / 2u; half > 0u; half /= 2u) {
    if (thread < half) { sums[thread] += sums[thread + half]; }
    workgroupBarrier();
  }
  let rstd = 1.0 / sqrt(sums[0] / f32(width) + bitcast<f32>(info[3]));
  if (number < slices) {
    for (var i = thread; i < width; i += {{ threads }}u) {
      let gate = z[start + i];
      y[start + i] = x[start + i] * (gate * sigmoid(gate)) * rstd * weight[column + i];
    }
    if (thread == 0u) { stats[slice] = rstd; }
  }
}
