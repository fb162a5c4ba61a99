// rows[t]^T state vectors[t] for each position: {{ what }}.
@group(0) @binding(0) var<storage, read_write> rows: array<f32>;    // [B, L, H, P]
@group(0) @binding(1) var<storage, read_write> vectors: array<f32>; // [B, L, G, N]
@group(0) @binding(2) var<storage, read_write> states: array<f32>;  // [B, chunks, H, P, N]
@group(0) @binding(3) var<storage, read_write> dots: array<f32>;    // [2, B, chunks, H, tiles right, 64]

// (64 rows, 8 invocations along them)
var<workgroup> partial: array<f32, 512>;

fn left_0(row: u32, term: u32, p: Plan) -> f32 {
  let inside = row < p.count && term < p.width;
  let at = ((p.first + min(row, p.count - 1u)) * p.heads + p.owner) * p.width + min(term, p.width - 1u);
  return select(0.0, rows[at], inside);
}

fn right_0(term: u32, column: u32, p: Plan) -> f32 {
  let inside = column < p.state && term < p.width;
  let at = ((p.cell * p.heads + p.owner) * p.width + min(term, p.width - 1u)) * p.state + min(column, p.state - 1u);
  return select(0.0, states[at], inside);
}

// An invocation's columns lie in two blocks of four, which come one after the other.
fn write_row(row: u32, column: u32, values: vec4<f32>, total: f32, p: Plan) {
  var sum = 0.0;
  if (row < p.rows) {
    let start = ((p.first + row) * p.groups + p.group) * p.state;
    for (var lane = 0u; lane < 4u; lane++) {
      if (column + lane < p.columns) { sum += values[lane] * vectors[start + column + lane]; }
    }
  }
  let at = row * 8u + (column - p.column0) / 4u % 8u;
  if (column - p.column0 < 32u) { partial[at] = sum; } else { partial[at] += sum; }
}

fn gather(thread: u32, p: Plan) {
  if (thread < p.rows) {
    var sum = 0.0;
    for (var i = 0u; i < 8u; i++) { sum += partial[thread * 8u + i]; }
    let cells = info[0] * info[6];
    let at = (({{ which }} * cells + p.cell) * p.heads + p.owner) * info[9] + p.tile;
    dots[at * 64u + thread] = sum;
  }
}
