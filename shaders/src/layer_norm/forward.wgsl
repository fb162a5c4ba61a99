// y = (x - mean) / sqrt(variance + eps) * weight + bias, one row a workgroup; the variance in a second pass, about the mean.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;      // (rows, width)
@group(0) @binding(1) var<storage, read_write> weight: array<f32>; // (width)
@group(0) @binding(2) var<storage, read_write> bias: array<f32>;   // (width)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;      // (rows, width)
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;  // (rows, 2): mean, 1 / sqrt(variance + eps)
@group(0) @binding(5) var<storage, read_write> info: array<u32>;   // rows, width, bits of eps

var<workgroup> sums: array<f32, {{ threads }}>;

// The sum of `value` over the workgroup. Every invocation must call it.
fn total(thread: u32, value: f32) -> f32 {
  sums[thread] = value;
  workgroupBarrier();
  for (var half = {{ threads }}u / 2u; half > 0u; half /= 2u) {
    if (thread < half) { sums[thread] += sums[thread + half]; }
    workgroupBarrier();
  }
  let result = sums[0];
  workgroupBarrier();
  return result;
}

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
  var sum = 0.0;
  for (var i = thread; i < width; i += {{ threads }}u) { sum += x[start + i]; }
  let mean = total(thread, sum) / f32(width);
  sum = 0.0;
  for (var i = thread; i < width; i += {{ threads }}u) {
    let centred = x[start + i] - mean;
    sum += centred * centred;
  }
  let rstd = 1.0 / sqrt(total(thread, sum) / f32(width) + bitcast<f32>(info[2]));
  if (number < rows) {
    for (var i = thread; i < width; i += {{ threads }}u) {
      y[start + i] = (x[start + i] - mean) * rstd * weight[i] + bias[i];
    }
    if (thread == 0u) {
      stats[2u * row] = mean;
      stats[2u * row + 1u] = rstd;
    }
  }
}
