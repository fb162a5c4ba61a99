// One position of the scan: a workgroup a row of a head's state, which it changes in place.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;     // [B, H, P]
@group(0) @binding(1) var<storage, read_write> steps: array<f32>; // [B, H, 2]: decay, step size
@group(0) @binding(2) var<storage, read_write> b: array<f32>;     // [B, G, N]
@group(0) @binding(3) var<storage, read_write> c: array<f32>;     // [B, G, N]
@group(0) @binding(4) var<storage, read_write> d: array<f32>;     // [H]
@group(0) @binding(5) var<storage, read_write> state: array<f32>; // [B, H, P, N]
@group(0) @binding(6) var<storage, read_write> y: array<f32>;     // [B, H, P]
@group(0) @binding(7) var<storage, read_write> info: array<u32>;  // B, H, P, G, N

var<workgroup> sums: array<f32, {{ threads }}>;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let heads = info[1];
  let width = info[2];
  let own_groups = info[3];
  let columns = info[4];
  let row = group.y * groups.x + group.x;
  let rows = info[0] * heads * width;
  var sum = 0.0;
  if (row < rows) {
    let head = row / width;
    let decay = steps[head * 2u];
    let input = steps[head * 2u + 1u] * x[row];
    let start = (head / heads * own_groups + head % heads / (heads / own_groups)) * columns;
    for (var n = thread; n < columns; n += {{ threads }}u) {
      let value = decay * state[row * columns + n] + input * b[start + n];
      state[row * columns + n] = value;
      sum += value * c[start + n];
    }
  }
  sums[thread] = sum;
  workgroupBarrier();
  for (var half = {{ threads }}u / 2u; half > 0u; half /= 2u) {
    if (thread < half) { sums[thread] += sums[thread + half]; }
    workgroupBarrier();
  }
  if (thread == 0u && row < rows) { y[row] = sums[0] + d[row / width % heads] * x[row]; }
}
