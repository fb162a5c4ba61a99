// {{ what }}: inside the chunk by pairs of positions, across chunks through a state, summed over the heads of the group.
@group(0) @binding(0) var<storage, read_write> products: array<f32>; // [B, chunks, H, 64, 64]: dy_t . x_u times decay
@group(0) @binding(1) var<storage, read_write> vectors: array<f32>;  // [B, L, G, N]
@group(0) @binding(2) var<storage, read_write> states: array<f32>;   // [B, chunks, H, P, N]
@group(0) @binding(3) var<storage, read_write> steps: array<f32>;    // [B, L, H, 4]
@group(0) @binding(4) var<storage, read_write> rows: array<f32>;     // [B, L, H, P]
@group(0) @binding(5) var<storage, read_write> result: array<f32>;   // [B, L, G, N]
// B, L, H, P, G, N, chunks, workgroups, tiles down, tiles right
@group(0) @binding(6) var<storage, read_write> info: array<u32>;

// The terms of a head: 64 positions, then the P rows of its state.
fn head_of(term: u32, p: Plan) -> u32 {
  return p.owner * (p.heads / p.groups) + term / (64u + p.width);
}

fn left(row: u32, term: u32, p: Plan) -> f32 {
  if (row >= p.count || term >= p.terms) { return 0.0; }
  let head = head_of(term, p);
  let other = term % (64u + p.width);
  if (other >= 64u) {
    return rows[((p.first + row) * p.heads + head) * p.width + other - 64u] * {{ weight }};
  }
  let t = {{ t }};
  let u = {{ u }};
  if (u > t || t >= p.count) { return 0.0; }
  return products[((p.cell * p.heads + head) * 64u + t) * 64u + u] * delta(p, head, u);
}

fn right(term: u32, column: u32, p: Plan) -> f32 {
  if (column >= p.state || term >= p.terms) { return 0.0; }
  let other = term % (64u + p.width);
  if (other >= 64u) {
    return states[((p.cell * p.heads + head_of(term, p)) * p.width + other - 64u) * p.state + column];
  }
  if (other >= p.count) { return 0.0; }
  return vectors[((p.first + other) * p.groups + p.owner) * p.state + column];
}

fn store(row: u32, column: u32, value: f32, p: Plan) {
  result[((p.first + row) * p.groups + p.owner) * p.state + column] = value;
}
