// C = op(A) op(B) + bias for few rows: a tile of 16 x 16, one value a thread, so that a short matrix still fills the device.
@group(0) @binding(0) var<storage, read_write> a: array<f32>; // (m, k), or (k, m)
@group(0) @binding(1) var<storage, read_write> b: array<f32>; // (k, n), or (n, k)
@group(0) @binding(2) var<storage, read_write> c: array<f32>; // (m, n)
{{ bias_binding }}
@group(0) @binding({{ info_binding }}) var<storage, read_write> info: array<u32>; // m, n, k

var<workgroup> sizes: vec3<u32>;
// (16 of the depth, 16 rows or columns), one more against bank conflicts.
var<workgroup> tile_a: array<f32, 272>;
var<workgroup> tile_b: array<f32, 272>;

// Zero outside of the matrix. Without a branch: it is read inside, then replaced.
fn a_value(at_row: u32, at_depth: u32, size: vec3<u32>) -> f32 {
  let row = min(at_row, size.x - 1u);
  let depth = min(at_depth, size.z - 1u);
  return select(0.0, a[{{ a_index }}], at_row < size.x && at_depth < size.z);
}

fn b_value(at_depth: u32, at_column: u32, size: vec3<u32>) -> f32 {
  let column = min(at_column, size.y - 1u);
  let depth = min(at_depth, size.z - 1u);
  return select(0.0, b[{{ b_index }}], at_column < size.y && at_depth < size.z);
}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  if (thread == 0u) { sizes = vec3<u32>(info[0], info[1], info[2]); }
  let size = workgroupUniformLoad(&sizes);
  let across = (size.y + 15u) / 16u;
  let number = group.y * groups.x + group.x;
  // The rows of a superfluous group lie past the last: it reads zeros and writes nothing.
  let row0 = number / across * 16u;
  let column0 = number % across * 16u;
  let tx = thread % 16u;
  let ty = thread / 16u;
  // Neighbouring threads read neighbouring values, whichever way the operand lies.
  let a_row = {{ a_row }};
  let a_depth = {{ a_depth }};
  let b_column = {{ b_column }};
  let b_depth = {{ b_depth }};
  var sum = 0.0;
  for (var start = 0u; start < size.z; start += 16u) {
    tile_a[a_depth * 17u + a_row] = a_value(row0 + a_row, start + a_depth, size);
    tile_b[b_depth * 17u + b_column] = b_value(start + b_depth, column0 + b_column, size);
    workgroupBarrier();
    for (var d = 0u; d < 16u; d++) { sum = fma(tile_a[d * 17u + ty], tile_b[d * 17u + tx], sum); }
    workgroupBarrier();
  }
  let row = row0 + ty;
  let column = column0 + tx;
  if (row < size.x && column < size.y) { c[row * size.y + column] = sum + {{ bias }}; }
}
