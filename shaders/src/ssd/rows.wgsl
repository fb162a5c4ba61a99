// Products of rows of two tensors over a chunk: result[t, u] = left[t] . right[u].
@group(0) @binding(0) var<storage, read_write> of_t: array<f32>;   // {{ shape }}
@group(0) @binding(1) var<storage, read_write> of_u: array<f32>;   // {{ shape }}
@group(0) @binding(2) var<storage, read_write> result: array<f32>; // [B, chunks, {{ owner }}, 64, 64]
{{ bind_steps }}

fn left_0(row: u32, term: u32, p: Plan) -> f32 {
  let inside = row < p.count && term < p.terms_0;
  let at = ((p.first + min(row, p.count - 1u)) * {{ own }} + p.owner) * p.terms_0 + min(term, p.terms_0 - 1u);
  return select(0.0, of_t[at], inside);
}

fn right_0(term: u32, column: u32, p: Plan) -> f32 {
  let inside = column < p.count && term < p.terms_0;
  let at = ((p.first + min(column, p.count - 1u)) * {{ own }} + p.owner) * p.terms_0 + min(term, p.terms_0 - 1u);
  return select(0.0, of_u[at], inside);
}

fn store(row: u32, column: u32, value: f32, p: Plan) {
  result[((p.cell * {{ own }} + p.owner) * 64u + row) * 64u + column] = {{ value }};
}
