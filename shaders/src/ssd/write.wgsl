
// Writes the results of four rows: four columns from `column`, four from 32 further.
fn finish(row: u32, column: u32, near: mat4x4<f32>, far: mat4x4<f32>, p: Plan) {
  for (var i = 0u; i < 4u; i++) {
    for (var lane = 0u; lane < 4u; lane++) {
      if (row + i < p.rows) {
        if (column + lane < p.columns) { store(row + i, column + lane, near[i][lane], p); }
        if (column + 32u + lane < p.columns) { store(row + i, column + 32u + lane, far[i][lane], p); }
      }
    }
  }
}
