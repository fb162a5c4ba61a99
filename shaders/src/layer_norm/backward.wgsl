// dx = rstd (g - mean(g) - n mean(g n)), g = dy weight, n = (x - mean) rstd, one row a workgroup.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // (rows, width)
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;  // (rows, 2): mean, rstd
@group(0) @binding(2) var<storage, read_write> weight: array<f32>; // (width)
@group(0) @binding(3) var<storage, read_write> dy: array<f32>;     // (rows, width)
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;     // (rows, width)
@group(0) @binding(5) var<storage, read_write> info: array<u32>;   // rows, width

var<workgroup> sums: array<vec2<f32>, {{ threads }}>;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let rows = info[0];
  let width = info[1];
  let number = group.y * groups.x + group.x;
  // A superfluous group works on the last row and writes nothing, so that all invocations meet at every barrier.
  let row = min(number, rows - 1u);
  let start = row * width;
  let mean = stats[2u * row];
  let rstd = stats[2u * row + 1u];
  var sum = vec2<f32>(0.0);
  for (var i = thread; i < width; i += {{ threads }}u) {
    let g = dy[start + i] * weight[i];
    sum += vec2<f32>(g, g * (x[start + i] - mean) * rstd);
  }
  sums[thread] = sum;
  workgroupBarrier();
  for (var half = {{ threads }}u / 2u; half > 0u; half /= 2u) {
    if (thread < half) { sums[thread] += sums[thread + half]; }
    workgroupBarrier();
  }
  let means = sums[0] / f32(width);
  if (number < rows) {
    for (var i = thread; i < width; i += {{ threads }}u) {
      let n = (x[start + i] - mean) * rstd;
      dx[start + i] = rstd * (dy[start + i] * weight[i] - means.x - n * means.y);
    }
  }
}
