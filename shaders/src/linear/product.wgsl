// C = op(A) op(B) + bias for many rows: a tile of 64 x 64 by a workgroup of 16 x 16, 4 x 4 a thread, 16 of the depth at a time.
// One file serves x Wt + b, dy W and dyt x: {{ a_index }} and {{ b_index }} say how the operands lie.
@group(0) @binding(0) var<storage, read_write> a: array<f32>; // (m, k), or (k, m)
@group(0) @binding(1) var<storage, read_write> b: array<f32>; // (k, n), or (n, k)
@group(0) @binding(2) var<storage, read_write> c: array<f32>; // (m, n)
{{ bias_binding }}
@group(0) @binding({{ info_binding }}) var<storage, read_write> info: array<u32>; // m, n, k

var<workgroup> sizes: vec3<u32>;
// (16 of the depth, 64 rows or columns in fours), one more so that a column of threads does not meet in one bank.
var<workgroup> tile_a: array<vec4<f32>, 272>;
var<workgroup> tile_b: array<vec4<f32>, 272>;

fn a_value(row: u32, depth: u32, size: vec3<u32>) -> f32 {
  if (row < size.x && depth < size.z) { return a[{{ a_index }}]; }
  return 0.0;
}

fn b_value(depth: u32, column: u32, size: vec3<u32>) -> f32 {
  if (column < size.y && depth < size.z) { return b[{{ b_index }}]; }
  return 0.0;
}

fn write_row(row: u32, column: u32, value: vec4<f32>, size: vec3<u32>) {
  if (row >= size.x) { return; }
  for (var j = 0u; j < 4u; j++) {
    if (column + j < size.y) { c[row * size.y + column + j] = value[j]{{ bias }}; }
  }
}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  if (thread == 0u) { sizes = vec3<u32>(info[0], info[1], info[2]); }
  let size = workgroupUniformLoad(&sizes);
  let across = (size.y + 63u) / 64u;
  let number = group.y * groups.x + group.x;
  // The rows of a superfluous group lie past the last: it reads zeros and writes nothing.
  let row0 = number / across * 64u;
  let column0 = number % across * 64u;
  let tx = thread % 16u;
  let ty = thread / 16u;
  // Neighbouring threads read neighbouring values, whichever way the operand lies.
  let a_four = {{ a_four }};
  let a_depth = {{ a_depth }};
  let b_four = {{ b_four }};
  let b_depth = {{ b_depth }};
  var sum0 = vec4<f32>(0.0);
  var sum1 = vec4<f32>(0.0);
  var sum2 = vec4<f32>(0.0);
  var sum3 = vec4<f32>(0.0);
  for (var start = 0u; start < size.z; start += 16u) {
    let row = row0 + a_four * 4u;
    let column = column0 + b_four * 4u;
    tile_a[a_depth * 17u + a_four] = vec4<f32>(
      a_value(row, start + a_depth, size), a_value(row + 1u, start + a_depth, size),
      a_value(row + 2u, start + a_depth, size), a_value(row + 3u, start + a_depth, size));
    tile_b[b_depth * 17u + b_four] = vec4<f32>(
      b_value(start + b_depth, column, size), b_value(start + b_depth, column + 1u, size),
      b_value(start + b_depth, column + 2u, size), b_value(start + b_depth, column + 3u, size));
    workgroupBarrier();
    for (var d = 0u; d < 16u; d++) {
      let rows = tile_a[d * 17u + ty];
      let columns = tile_b[d * 17u + tx];
      sum0 = fma(vec4<f32>(rows.x), columns, sum0);
      sum1 = fma(vec4<f32>(rows.y), columns, sum1);
      sum2 = fma(vec4<f32>(rows.z), columns, sum2);
      sum3 = fma(vec4<f32>(rows.w), columns, sum3);
    }
    workgroupBarrier();
  }
  let row = row0 + ty * 4u;
  let column = column0 + tx * 4u;
  write_row(row, column, sum0, size);
  write_row(row + 1u, column, sum1, size);
  write_row(row + 2u, column, sum2, size);
  write_row(row + 3u, column, sum3, size);
}
