// {{ what }}: inside the chunk by pairs of positions, across chunks through a state, and the skip.
@group(0) @binding(0) var<storage, read_write> scores: array<f32>;  // [B, chunks, G, 64, 64]: c_t . b_u
@group(0) @binding(1) var<storage, read_write> vectors: array<f32>; // [B, L, G, N]
@group(0) @binding(2) var<storage, read_write> states: array<f32>;  // [B, chunks, H, P, N]
@group(0) @binding(3) var<storage, read_write> steps: array<Step>;  // [B, L, H]
@group(0) @binding(4) var<storage, read_write> rows: array<f32>;    // [B, L, H, P]
@group(0) @binding(5) var<storage, read_write> d: array<f32>;       // [H]
@group(0) @binding(6) var<storage, read_write> result: array<f32>;  // [B, L, H, P]

// How far position u reaches position t.
fn pair(t: u32, u: u32, p: Plan) -> f32 {
  if (u > t || t >= p.count) { return 0.0; }
  let score = scores[((p.cell * p.groups + p.group) * 64u + t) * 64u + u];
  return score * decay_between(p, p.owner, u, t) * delta(p, p.owner, u);
}

fn left_0(row: u32, term: u32, p: Plan) -> f32 {
  if (row >= p.count) { return 0.0; }
  return pair({{ t }}, {{ u }}, p);
}

fn right_0(term: u32, column: u32, p: Plan) -> f32 {
  if (column >= p.width || term >= p.count) { return 0.0; }
  return rows[((p.first + term) * p.heads + p.owner) * p.width + column];
}

fn left_1(row: u32, term: u32, p: Plan) -> f32 {
  if (row >= p.count || term >= p.state) { return 0.0; }
  return vectors[((p.first + row) * p.groups + p.group) * p.state + term] * {{ weight }};
}

fn right_1(term: u32, column: u32, p: Plan) -> f32 {
  if (column >= p.width || term >= p.state) { return 0.0; }
  return states[((p.cell * p.heads + p.owner) * p.width + column) * p.state + term];
}

fn store(row: u32, column: u32, value: f32, p: Plan) {
  let at = ((p.first + row) * p.heads + p.owner) * p.width + column;
  result[at] = value + d[p.owner] * rows[at];
}
