// A step of {{ operand }} into its tile, value by value: a thread brings four depths of a row (or column) at a time. In a loop: sixteen
// reads in a row are more than SwiftShader's compiler takes.
fn bring_{{ operand }}(thread: u32, first: u32, start: u32, size: vec3<u32>) {
  for (var i = thread; i < TILE * FOURS; i += {{ threads }}u) {
    //@ for only in 0..{{ along_depth }}
    let row = i / FOURS;
    let four = i % FOURS;
    //@ end
    //@ for only in 0..{{ along_rows }}
    let row = i % TILE;
    let four = i / TILE;
    //@ end
    tile_{{ operand }}[row * ROW + four] = vec4<f32>(
      //@ for i in 0..4
      {{ operand }}_at(first + row, start + 4u * four + @iu, size),
      //@ end
    );
  }
}
