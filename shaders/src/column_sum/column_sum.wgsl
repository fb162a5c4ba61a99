// One stage of a sum over rows: a workgroup takes a block of rows and as many columns as it has invocations.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;    // (rows, columns)
@group(0) @binding(1) var<storage, read_write> sums: array<f32>; // (blocks, columns)
@group(0) @binding(2) var<storage, read_write> info: array<u32>; // rows, columns, rows of a block, blocks

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let rows = info[0];
  let columns = info[1];
  let across = (columns + {{ threads }}u - 1u) / {{ threads }}u;
  let number = group.y * groups.x + group.x;
  let block = number / across;
  let column = (number % across) * {{ threads }}u + thread;
  if (column >= columns || block >= info[3]) { return; }
  let first = block * info[2];
  let last = min(first + info[2], rows);
  var sum = 0.0;
  for (var row = first; row < last; row++) { sum += x[row * columns + column]; }
  sums[block * columns + column] = sum;
}
