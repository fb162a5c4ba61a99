// C = op(A) op(B) + bias: a square tile of C by a workgroup of 8 x 8, {{ rows }} x {{ rows }} values a thread.
// One file serves x Wt + b, dy W and dyt x of the linear layer, and the convolution, which multiplies many matrices whose
// rows overlap: the parameters a_index and b_index say where the element of a row (or column) and a depth lies.
@group(0) @binding(0) var<storage, read_write> a: array<{{ a_stored }}>; // (m, k), or (k, m), or windows of it
@group(0) @binding(1) var<storage, read_write> b: array<{{ b_stored }}>; // (n, k), or (k, n), for each matrix that needs its own
@group(0) @binding(2) var<storage, read_write> c: array<f32>; // (matrices, m, n)
{{ bias_binding }}
@group(0) @binding({{ info_binding }}) var<storage, read_write> info: array<u32>; // m, n, k, and what the indices need

// Rows, and columns, of the tile of C; four depths are a vector, of which FOURS make one step.
const TILE = {{ tile }}u;
const FOURS = {{ fours }}u;
// One more than FOURS, so that rows of a tile do not meet in one bank.
const ROW = FOURS + 1u;

// The product that this workgroup has a tile of.
var<private> matrix: u32;

var<workgroup> sizes: vec3<u32>;
// (TILE rows or columns, FOURS vectors along the depth).
var<workgroup> tile_a: array<vec4<f32>, TILE * ROW>;
var<workgroup> tile_b: array<vec4<f32>, TILE * ROW>;

// Zero outside of the matrix. Without a branch: an element inside is read, then replaced.
fn a_at(at_row: u32, at_depth: u32, size: vec3<u32>) -> {{ a_type }} {
  let row = min(at_row, size.x - 1u);
  let depth = min(at_depth, size.z - 1u);
  return select({{ a_type }}(0.0), {{ a_unpack }}(a[({{ a_index }}) / {{ a_width }}u]), at_row < size.x && at_depth < size.z);
}

fn b_at(at_column: u32, at_depth: u32, size: vec3<u32>) -> {{ b_type }} {
  let column = min(at_column, size.y - 1u);
  let depth = min(at_depth, size.z - 1u);
  return select({{ b_type }}(0.0), {{ b_unpack }}(b[({{ b_index }}) / {{ b_width }}u]), at_column < size.y && at_depth < size.z);
}

// A step of either operand into its tile; neighbouring threads read along the operand's memory.
{{ a_bring }}
{{ b_bring }}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  if (thread == 0u) { sizes = vec3<u32>(info[0], info[1], info[2]); }
  let size = workgroupUniformLoad(&sizes);
  let across = (size.y + TILE - 1u) / TILE;
  let number = group.y * groups.x + group.x;
  let tiles = across * ((size.x + TILE - 1u) / TILE);
  matrix = min(number / tiles, {{ matrices }} - 1u);
  // The rows of a superfluous group lie past the last: it writes nothing.
  let tile = number - matrix * tiles;
  let row0 = tile / across * TILE;
  let column0 = tile % across * TILE;
  // It computes the rows ty, ty + 8 .. and the columns tx, tx + 8 ..
  let tx = thread % 8u;
  let ty = thread / 8u;
  //@ for i in 0..{{ rows }}
  //@ for j in 0..{{ rows }}
  var sum_@i_@j = 0.0;
  //@ end
  //@ end
  for (var start = 0u; start < size.z; start += 4u * FOURS) {
    bring_a(thread, row0, start, size);
    bring_b(thread, column0, start, size);
    workgroupBarrier();
    for (var four = 0u; four < FOURS; four++) {
      //@ for i in 0..{{ rows }}
      let a_@i = tile_a[(ty + 8u * @iu) * ROW + four];
      //@ end
      //@ for j in 0..{{ rows }}
      let b_@j = tile_b[(tx + 8u * @ju) * ROW + four];
      //@ for i in 0..{{ rows }}
      sum_@i_@j += dot(a_@i, b_@j);
      //@ end
      //@ end
    }
    workgroupBarrier();
  }
  //@ for j in 0..{{ rows }}
  {
    let column = column0 + tx + 8u * @ju;
    if (column < size.y) {
      let added = {{ bias }};
      //@ for i in 0..{{ rows }}
      if (row0 + ty + 8u * @iu < size.x) {
        c[(matrix * size.x + row0 + ty + 8u * @iu) * size.y + column] = sum_@i_@j + added;
      }
      //@ end
    }
  }
  //@ end
}
