// C = op(A) op(B) + bias for many rows: a tile of 64 x 64 by a workgroup of 8 x 8, 8 x 8 a thread, 16 of the depth at a time.
// One file serves x Wt + b, dy W and dyt x of the linear layer, and the convolution, which multiplies many matrices whose
// rows overlap: the parameters a_index and b_index say how the operands lie.
@group(0) @binding(0) var<storage, read_write> a: array<f32>; // (m, k), or (k, m), or windows of it
@group(0) @binding(1) var<storage, read_write> b: array<f32>; // (k, n), or (n, k), for each matrix that needs its own
@group(0) @binding(2) var<storage, read_write> c: array<f32>; // (matrices, m, n)
{{ bias_binding }}
@group(0) @binding({{ info_binding }}) var<storage, read_write> info: array<u32>; // m, n, k, and what the indices need

// The product that this workgroup has a tile of.
var<private> matrix: u32;

var<workgroup> sizes: vec3<u32>;
// (16 of the depth, 64 rows or columns in fours), one more so that a column of threads does not meet in one bank.
var<workgroup> tile_a: array<vec4<f32>, 272>;
var<workgroup> tile_b: array<vec4<f32>, 272>;

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

fn write_row(row: u32, column: u32, value: vec4<f32>, size: vec3<u32>) {
  if (row >= size.x) { return; }
  for (var j = 0u; j < 4u; j++) {
    if (column + j < size.y) { c[(matrix * size.x + row) * size.y + column + j] = value[j]{{ bias }}; }
  }
}

// Four rows of four values.
fn write_block(row: u32, column: u32, block: mat4x4<f32>, size: vec3<u32>) {
  write_row(row, column, block[0], size);
  write_row(row + 1u, column, block[1], size);
  write_row(row + 2u, column, block[2], size);
  write_row(row + 3u, column, block[3], size);
}

// Row i of the result is rows[i] * columns.
fn outer(rows: vec4<f32>, columns: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(rows.x * columns, rows.y * columns, rows.z * columns, rows.w * columns);
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
  let tiles = across * ((size.x + 63u) / 64u);
  matrix = min(number / tiles, {{ matrices }} - 1u);
  // The rows of a superfluous group lie past the last: it writes nothing.
  let tile = number - matrix * tiles;
  let row0 = tile / across * 64u;
  let column0 = tile % across * 64u;
  let tx = thread % 8u;
  let ty = thread / 8u;
  // The thread's rows are 4 ty .. and 32 + 4 ty .., its columns 4 tx .. and 32 + 4 tx ..
  var upper_left = mat4x4<f32>();
  var upper_right = mat4x4<f32>();
  var lower_left = mat4x4<f32>();
  var lower_right = mat4x4<f32>();
  for (var start = 0u; start < size.z; start += 16u) {
    for (var i = thread; i < 256u; i += {{ threads }}u) {
      // Neighbouring threads read neighbouring values, whichever way the operand lies.
      let a_four = {{ a_four }};
      let a_depth = {{ a_depth }};
      let row = row0 + a_four * 4u;
      tile_a[a_depth * 17u + a_four] = vec4<f32>(
        a_value(row, start + a_depth, size), a_value(row + 1u, start + a_depth, size),
        a_value(row + 2u, start + a_depth, size), a_value(row + 3u, start + a_depth, size));
      let b_four = {{ b_four }};
      let b_depth = {{ b_depth }};
      let column = column0 + b_four * 4u;
      tile_b[b_depth * 17u + b_four] = vec4<f32>(
        b_value(start + b_depth, column, size), b_value(start + b_depth, column + 1u, size),
        b_value(start + b_depth, column + 2u, size), b_value(start + b_depth, column + 3u, size));
    }
    workgroupBarrier();
    for (var d = 0u; d < 16u; d++) {
      let upper = tile_a[d * 17u + ty];
      let lower = tile_a[d * 17u + 8u + ty];
      let left = tile_b[d * 17u + tx];
      let right = tile_b[d * 17u + 8u + tx];
      upper_left += outer(upper, left);
      upper_right += outer(upper, right);
      lower_left += outer(lower, left);
      lower_right += outer(lower, right);
    }
    workgroupBarrier();
  }
  let row = row0 + ty * 4u;
  let column = column0 + tx * 4u;
  write_block(row, column, upper_left, size);
  write_block(row, column + 32u, upper_right, size);
  write_block(row + 32u, column, lower_left, size);
  write_block(row + 32u, column + 32u, lower_right, size);
}
