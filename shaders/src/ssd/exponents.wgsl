// Gradients of dt, and of a, d and dt_bias a chunk: one invocation a head of a chunk.
@group(0) @binding(0) var<storage, read_write> pairs: array<f32>;   // [B, L, H, 2]: of step size, of exponent
@group(0) @binding(1) var<storage, read_write> cells: array<f32>;   // [B, chunks, H, 2]: dd, before . after
@group(0) @binding(2) var<storage, read_write> dots: array<f32>;    // [2, B, chunks, H, tiles, 64]
@group(0) @binding(3) var<storage, read_write> steps: array<Step>;  // [B, L, H]
@group(0) @binding(4) var<storage, read_write> a: array<f32>;       // [H]
@group(0) @binding(5) var<storage, read_write> ddt: array<f32>;     // [B, L, H]
@group(0) @binding(6) var<storage, read_write> partial: array<f32>; // [B, chunks, 3, H]: da, dd, ddt_bias
@group(0) @binding(7) var<storage, read_write> info: array<u32>;    // B, L, H, chunks, tiles

fn dot_at(start: u32, t: u32) -> f32 {
  var sum = 0.0;
  for (var tile = 0u; tile < info[4]; tile++) { sum += dots[(start + tile) * 64u + t]; }
  return sum;
}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let number = (group.y * groups.x + group.x) * {{ threads }}u + thread;
  let len = info[1];
  let heads = info[2];
  let chunks = info[3];
  let total = info[0] * chunks * heads;
  if (number >= total) { return; }
  let head = number % heads;
  let cell = number / heads;
  let start = cell % chunks * 64u;
  let first = cell / chunks * len + start;
  let count = min(64u, len - start);
  let end = steps[(first + count - 1u) * heads + head];
  // A position's exponent lies between every earlier position of the chunk and the state after it.
  var through = 0.0;
  for (var t = 0u; t < count; t++) {
    let at = (first + t) * heads + head;
    let step = steps[at];
    let decay = exp((end.whole - step.whole) + (end.rest - step.rest));
    let reach = decay * dot_at((total + number) * info[4], t);
    ddt[at] = through + pairs[at * 2u + 1u];
    pairs[at * 2u] += reach;
    through += step.delta * reach;
  }
  // And between the state before the chunk and every later position.
  let a_of_head = a[head];
  through = end.from_start * cells[number * 2u + 1u];
  var da = 0.0;
  var dbias = 0.0;
  for (var i = 0u; i < count; i++) {
    let t = count - 1u - i;
    let at = (first + t) * heads + head;
    let step = steps[at];
    through += step.from_start * dot_at(number * info[4], t);
    let exponent = ddt[at] + through;
    da += exponent * step.delta;
    let value = (pairs[at * 2u] + a_of_head * exponent) * step.slope;
    ddt[at] = value;
    dbias += value;
  }
  partial[cell * 3u * heads + head] = da;
  partial[(cell * 3u + 1u) * heads + head] = cells[number * 2u];
  partial[(cell * 3u + 2u) * heads + head] = dbias;
}
