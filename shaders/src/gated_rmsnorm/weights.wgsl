// First stage of dweight = sum over rows of dy g rstd: a workgroup takes a block of rows and as many columns as it has
// invocations. The second stage is the column sum of `partial`.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;       // (rows, groups, width)
@group(0) @binding(1) var<storage, read_write> z: array<f32>;       // (rows, groups, width)
@group(0) @binding(2) var<storage, read_write> stats: array<f32>;   // (rows, groups): rstd
@group(0) @binding(3) var<storage, read_write> dy: array<f32>;      // (rows, groups, width)
@group(0) @binding(4) var<storage, read_write> partial: array<f32>; // (blocks, groups, width)
@group(0) @binding(5) var<storage, read_write> info: array<u32>;    // rows, groups, width, rows of a block, blocks

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let columns = info[1] * info[2];
  let across = (columns + {{ threads }}u - 1u) / {{ threads }}u;
  let number = group.y * groups.x + group.x;
  let block = number / across;
  let column = (number % across) * {{ threads }}u + thread;
  if (column >= columns || block >= info[4]) { return; }
  let first = block * info[3];
  let last = min(first + info[3], info[0]);
  var sum = 0.0;
  for (var row = first; row < last; row++) {
    let at = row * columns + column;
    let gate = z[at];
    sum += dy[at] * x[at] * (gate * sigmoid(gate)) * stats[row * info[1] + column / info[2]];
  }
  partial[block * columns + column] = sum;
}
