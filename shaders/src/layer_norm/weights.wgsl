// First stage of dweight = sum over rows of dy n, dbias = sum over rows of dy, n = (x - mean) rstd: a workgroup takes a block of
// rows and as many columns as it has invocations. The second stage is the column sum of `partial`.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;       // (rows, width)
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;   // (rows, 2): mean, rstd
@group(0) @binding(2) var<storage, read_write> dy: array<f32>;      // (rows, width)
@group(0) @binding(3) var<storage, read_write> partial: array<f32>; // (blocks, 2, width): dweight, dbias
@group(0) @binding(4) var<storage, read_write> info: array<u32>;    // rows, width, rows of a block, blocks

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let rows = info[0];
  let width = info[1];
  let across = (width + {{ threads }}u - 1u) / {{ threads }}u;
  let number = group.y * groups.x + group.x;
  let block = number / across;
  let column = (number % across) * {{ threads }}u + thread;
  if (column >= width || block >= info[3]) { return; }
  let first = block * info[2];
  let last = min(first + info[2], rows);
  var sums = vec2<f32>(0.0);
  for (var row = first; row < last; row++) {
    let g = dy[row * width + column];
    sums += vec2<f32>(g * (x[row * width + column] - stats[2u * row]) * stats[2u * row + 1u], g);
  }
  partial[block * 2u * width + column] = sums.x;
  partial[block * 2u * width + width + column] = sums.y;
}
