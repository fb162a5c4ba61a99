
// A product of two matrices for each chunk of a head or group: 64 x 64 results by a workgroup of 8 x 8, 8 x 8 an invocation, 16
// terms of the sum at a time. The file before this one says what left(row, term, plan), right(term, column, plan) and
// finish(..) are; left and right give zeros outside of their matrices.

struct Plan {
  terms: u32,   // of the sum; 0 where the group does not exist
  rows: u32,    // of the result
  columns: u32, // of the result
  row0: u32,
  column0: u32,
  tile: u32,    // tile number along the columns
  first: u32,   // the chunk's first position in [B * L]
  count: u32,   // its positions
  cell: u32,    // its number in [B * chunks]
  owner: u32,   // head or group
  heads: u32,
  width: u32,
  groups: u32,
  state: u32,
}

const THREADS = {{ threads }}u;

var<workgroup> plan: Plan;
// (16 terms, 64 rows or columns in fours), one more so that a column of threads does not meet in one bank.
var<workgroup> tile_a: array<vec4<f32>, 272>;
var<workgroup> tile_b: array<vec4<f32>, 272>;

// Row i of the result is rows[i] * columns.
fn outer(rows: vec4<f32>, columns: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(rows.x * columns, rows.y * columns, rows.z * columns, rows.w * columns);
}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group_id: vec3<u32>,
  @builtin(num_workgroups) group_count: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  if (thread == 0u) {
    let group = group_id.y * group_count.x + group_id.x;
    let len = info[1];
    let heads = info[2];
    let width = info[3];
    let groups = info[4];
    let state = info[5];
    let chunks = info[6];
    let owners = {{ owners }};
    let tiles = info[8] * info[9];
    let cell = group / (tiles * owners);
    let start = cell % chunks * 64u;
    let sample = cell / chunks;
    let count = min(64u, len - start);
    plan = Plan(
      select(0u, {{ terms }}, group < info[7]),
      select(0u, {{ rows }}, group < info[7]),
      {{ columns }},
      group % tiles / info[9] * 64u,
      group % info[9] * 64u,
      group % info[9],
      sample * len + start,
      count,
      cell,
      group / tiles % owners,
      heads,
      width,
      groups,
      state,
    );
  }
  // Uniform, so that the barriers below may stand in a loop over it.
  let p = workgroupUniformLoad(&plan);
  let tx = thread % 8u;
  let ty = thread / 8u;
  // The rows of an invocation are 4 ty .. and 32 + 4 ty .., its columns 4 tx .. and 32 + 4 tx ..
  var upper_left = mat4x4<f32>();
  var upper_right = mat4x4<f32>();
  var lower_left = mat4x4<f32>();
  var lower_right = mat4x4<f32>();
  for (var start = 0u; start < p.terms; start += 16u) {
    for (var at = thread; at < 256u; at += THREADS) {
      // Neighbouring invocations read neighbouring values, whichever way a matrix lies.
      let four_a = {{ a_four }};
      let step_a = {{ a_step }};
      let row = p.row0 + four_a * 4u;
      tile_a[step_a * 17u + four_a] = vec4<f32>(
        left(row, start + step_a, p),
        left(row + 1u, start + step_a, p),
        left(row + 2u, start + step_a, p),
        left(row + 3u, start + step_a, p),
      );
      let four_b = {{ b_four }};
      let step_b = {{ b_step }};
      let column = p.column0 + four_b * 4u;
      tile_b[step_b * 17u + four_b] = vec4<f32>(
        right(start + step_b, column, p),
        right(start + step_b, column + 1u, p),
        right(start + step_b, column + 2u, p),
        right(start + step_b, column + 3u, p),
      );
    }
    workgroupBarrier();
    for (var t = 0u; t < 16u; t++) {
      let upper = tile_a[t * 17u + ty];
      let lower = tile_a[t * 17u + 8u + ty];
      let near = tile_b[t * 17u + tx];
      let far = tile_b[t * 17u + 8u + tx];
      upper_left += outer(upper, near);
      upper_right += outer(upper, far);
      lower_left += outer(lower, near);
      lower_right += outer(lower, far);
    }
    workgroupBarrier();
  }
  let row = p.row0 + ty * 4u;
  let column = p.column0 + tx * 4u;
  finish(row, column, upper_left, upper_right, p);
  finish(row + 32u, column, lower_left, lower_right, p);
  {{ after }}
}
