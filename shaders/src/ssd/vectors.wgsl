// {{ what }}: inside the chunk by pairs of positions, across chunks through a state, summed over the heads of the group.
@group(0) @binding(0) var<storage, read_write> products: array<f32>; // [B, chunks, H, 64, 64]: dy_t . x_u times decay
@group(0) @binding(1) var<storage, read_write> vectors: array<f32>;  // [B, L, G, N]
@group(0) @binding(2) var<storage, read_write> states: array<f32>;   // [B, chunks, H, P, N]
@group(0) @binding(3) var<storage, read_write> steps: array<Step>;   // [B, L, H]
@group(0) @binding(4) var<storage, read_write> rows: array<f32>;     // [B, L, H, P]
@group(0) @binding(5) var<storage, read_write> result: array<f32>;   // [B, L, G, N]

// The terms are the positions of the chunk for each of the group's heads, then the P rows of each head's state.

fn left_0(row: u32, term: u32, p: Plan) -> f32 {
  let head = p.owner * p.sharing + term / 64u;
  let other = term % 64u;
  let t = {{ t }};
  let u = {{ u }};
  if (u > t || t >= p.count) { return 0.0; }
  return products[((p.cell * p.heads + head) * 64u + t) * 64u + u] * delta(p, head, u);
}

fn right_0(term: u32, column: u32, p: Plan) -> f32 {
  let other = term % 64u;
  if (column >= p.state || other >= p.count) { return 0.0; }
  return vectors[((p.first + other) * p.groups + p.owner) * p.state + column];
}

// Which of the group's heads a row of a state belongs to. In floats, exact for such numbers, because integer division is slow.
fn number_of(term: u32, p: Plan) -> u32 {
  return u32((f32(term) + 0.5) / f32(p.width));
}

fn left_1(row: u32, term: u32, p: Plan) -> f32 {
  if (row >= p.count || term >= p.terms_1) { return 0.0; }
  let number = number_of(term, p);
  let head = p.owner * p.sharing + number;
  return rows[((p.first + row) * p.heads + head) * p.width + term - number * p.width] * {{ weight }};
}

fn right_1(term: u32, column: u32, p: Plan) -> f32 {
  if (column >= p.state || term >= p.terms_1) { return 0.0; }
  let first = p.cell * p.heads + p.owner * p.sharing;
  return states[(first * p.width + term) * p.state + column];
}

fn store(row: u32, column: u32, value: f32, p: Plan) {
  result[((p.first + row) * p.groups + p.owner) * p.state + column] = value;
}
