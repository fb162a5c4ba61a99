// What a chunk adds to the state: sum over its positions of weight[t] rows[t] vectors[t]^T.
@group(0) @binding(0) var<storage, read_write> vectors: array<f32>; // [B, L, G, N]
@group(0) @binding(1) var<storage, read_write> rows: array<f32>;    // [B, L, H, P]
@group(0) @binding(2) var<storage, read_write> steps: array<Step>;  // [B, L, H]
@group(0) @binding(3) var<storage, read_write> result: array<f32>;  // [B, chunks, H, P, N]

fn left_0(row: u32, term: u32, p: Plan) -> f32 {
  let inside = row < p.width && term < p.count;
  let t = min(term, p.count - 1u);
  let value = rows[((p.first + t) * p.heads + p.owner) * p.width + min(row, p.width - 1u)];
  return select(0.0, value * {{ weight }}, inside);
}

fn right_0(term: u32, column: u32, p: Plan) -> f32 {
  let inside = column < p.state && term < p.count;
  let t = min(term, p.count - 1u);
  return select(0.0, vectors[((p.first + t) * p.groups + p.group) * p.state + min(column, p.state - 1u)], inside);
}

fn store(row: u32, column: u32, value: f32, p: Plan) {
  result[((p.cell * p.heads + p.owner) * p.width + row) * p.state + column] = value;
}
