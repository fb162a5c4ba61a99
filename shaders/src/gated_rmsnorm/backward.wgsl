// dg = rstd (weight dy - n mean(weight dy n)), n = g rstd; dx = dg silu(z), dz = dg x silu'(z). One group of a row a workgroup.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // (rows, groups, width)
@group(0) @binding(1) var<storage, read_write> z: array<f32>;      // (rows, groups, width)
@group(0) @binding(2) var<storage, read_write> weight: array<f32>; // (groups, width)
@group(0) @binding(3) var<storage, read_write> stats: array<f32>;  // (rows, groups): rstd
@group(0) @binding(4) var<storage, read_write> dy: array<f32>;     // (rows, groups, width)
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;     // (rows, groups, width)
@group(0) @binding(6) var<storage, read_write> dz: array<f32>;     // (rows, groups, width)
@group(0) @binding(7) var<storage, read_write> info: array<u32>;   // rows * groups, groups, width

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
  let rstd = stats[slice];
  var sum = 0.0;
  for (var i = thread; i < width; i += {{ threads }}u) {
    let gate = z[start + i];
    sum += dy[start + i] * weight[column + i] * (x[start + i] * (gate * sigmoid(gate)) * rstd);
  }
  sums[thread] = sum;
  workgroupBarrier();
  for (var half = {{ threads }}u / 2u; half > 0u; half /= 2u) {
    if (thread < half) { sums[thread] += sums[thread + half]; }
    workgroupBarrier();
  }
  let mean = sums[0] / f32(width);
  if (number < slices) {
    for (var i = thread; i < width; i += {{ threads }}u) {
      let gate = z[start + i];
      let s = sigmoid(gate);
      let value = x[start + i];
      let dg = rstd * (dy[start + i] * weight[column + i] - value * (gate * s) * rstd * mean);
      dx[start + i] = dg * gate * s;
      dz[start + i] = dg * value * s * (1.0 + gate * (1.0 - s));
    }
  }
}
