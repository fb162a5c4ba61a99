// A step of {{ operand }} into its tile: a thread brings four rows (or columns) of four depths, read as vectors.
fn bring_{{ operand }}(thread: u32, first: u32, start: u32, size: vec3<u32>) {
  //@ for only in 0..{{ along_depth }}
  // A vector is four depths of a row.
  let row = thread / FOURS * 4u;
  let four = thread % FOURS;
  //@ for i in 0..4
  tile_{{ operand }}[(row + @iu) * ROW + four] = {{ operand }}_at(first + row + @iu, start + 4u * four, size);
  //@ end
  //@ end
  //@ for only in 0..{{ along_rows }}
  // A vector is a depth of four rows.
  let row = thread % (TILE / 4u) * 4u;
  let four = thread / (TILE / 4u);
  //@ for i in 0..4
  let depth_@i = {{ operand }}_at(first + row, start + 4u * four + @iu, size);
  //@ end
  //@ for i in 0..4
  tile_{{ operand }}[(row + @iu) * ROW + four] = vec4<f32>(depth_0[@i], depth_1[@i], depth_2[@i], depth_3[@i]);
  //@ end
  //@ end
}
