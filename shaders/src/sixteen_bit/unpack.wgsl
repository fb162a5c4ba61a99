// Four neighbouring 16-bit floats, two to a word, the lower half first. What is subnormal in binary16 (below 6.1e-5) may come out as 0 on
// some adapters: what a weight of 0.1 has as its last place.
fn unpack_f16(words: vec2<u32>) -> vec4<f32> { return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y)); }
fn unpack_bf16(words: vec2<u32>) -> vec4<f32> {
  return bitcast<vec4<f32>>(vec4<u32>(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u));
}
