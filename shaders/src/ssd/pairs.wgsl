// Gradients of step sizes and exponents through the pairs of positions of a chunk, and the products of its states: a workgroup a
// chunk of a head, an invocation a position. Sums of pairs, no differences of sums: nothing cancels.
@group(0) @binding(0) var<storage, read_write> products: array<f32>; // [B, chunks, H, 64, 64]: dy_t . x_u times decay
@group(0) @binding(1) var<storage, read_write> scores: array<f32>;   // [B, chunks, G, 64, 64]: c_t . b_u
@group(0) @binding(2) var<storage, read_write> steps: array<Step>;   // [B, L, H]
@group(0) @binding(3) var<storage, read_write> before: array<f32>;   // [B, chunks, H, P, N]: states before the chunks
@group(0) @binding(4) var<storage, read_write> after: array<f32>;    // [B, chunks, H, P, N]: gradients of those after them
@group(0) @binding(5) var<storage, read_write> pairs: array<f32>;    // [B, L, H, 2]: of step size, of exponent
@group(0) @binding(6) var<storage, read_write> cells: array<f32>;    // [B, chunks, H, 2]: dd, before . after
@group(0) @binding(7) var<storage, read_write> info: array<u32>;     // B, L, H, G, P * N, chunks

// (32 positions t, 64 positions u), a column more so that a column of threads does not meet in one bank.
var<workgroup> tile: array<f32, 2080>;
var<workgroup> sums: array<vec2<f32>, 64>;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) u: u32,
) {
  let len = info[1];
  let heads = info[2];
  let area = info[4];
  let chunks = info[5];
  let number = group.y * groups.x + group.x;
  let total = info[0] * chunks * heads;
  // A superfluous group works on the last chunk and writes nothing, so that all invocations meet at every barrier.
  let own = min(number, total - 1u);
  let write = number < total;
  let head = own % heads;
  let cell = own / heads;
  let start = cell % chunks * 64u;
  let first = cell / chunks * len + start;
  let count = min(64u, len - start);
  let of_head = own * 4096u + u;
  let of_group = (cell * info[3] + head / (heads / info[3])) * 4096u + u;
  var delta = 0.0;
  if (u < count) { delta = steps[(first + u) * heads + head].delta; }
  var sum = 0.0;
  for (var block = 0u; block < 2u; block++) {
    let base = 32u - 32u * block;
    for (var i = 0u; i < 32u; i++) {
      let t = base + 31u - i;
      if (u <= t && t < count) { sum += products[of_head + t * 64u] * scores[of_group + t * 64u]; }
      tile[(31u - i) * 65u + u] = select(0.0, sum * delta, u < t);
    }
    workgroupBarrier();
    if (u < 32u && base + u < count && write) {
      var through = 0.0;
      for (var i = 0u; i < 64u; i++) { through += tile[u * 65u + i]; }
      pairs[((first + base + u) * heads + head) * 2u + 1u] = through;
    }
    workgroupBarrier();
  }
  var own_sums = vec2<f32>(0.0);
  if (u < count) {
    if (write) { pairs[((first + u) * heads + head) * 2u] = sum; }
    own_sums.x = products[of_head + u * 64u];
  }
  for (var i = u; i < area; i += 64u) { own_sums.y += before[own * area + i] * after[own * area + i]; }
  sums[u] = own_sums;
  workgroupBarrier();
  for (var half = 32u; half > 0u; half /= 2u) {
    if (u < half) { sums[u] += sums[u + half]; }
    workgroupBarrier();
  }
  if (u == 0u && write) {
    cells[own * 2u] = sums[0].x;
    cells[own * 2u + 1u] = sums[0].y;
  }
}
