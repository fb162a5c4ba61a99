
fn write_row(row: u32, column: u32, values: vec4<f32>, total: f32, p: Plan) {
  for (var lane = 0u; lane < 4u; lane++) {
    if (row < p.rows && column + lane < p.columns) { store(row, column + lane, values[lane], p); }
  }
}
