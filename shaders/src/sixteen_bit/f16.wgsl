// The bits of a binary16 as those of an f32. In whole numbers, because unpack2x16float may flush what is subnormal in 16 bits.
fn wide_bits(half: u32) -> u32 {
  let size = half & 0x7fffu;
  let sign = (half & 0x8000u) << 16u;
  // Infinity and NaN keep the largest exponent.
  if (size >= 0x7c00u) { return sign | 0x7f800000u | ((size & 0x3ffu) << 13u); }
  if (size >= 0x400u) { return sign | ((size << 13u) + 0x38000000u); }
  // Subnormal: a multiple of 2^-24, normal as an f32.
  return sign | bitcast<u32>(f32(size) * 5.9604645e-8);
}
