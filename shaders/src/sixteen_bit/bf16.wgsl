// The bits of a bfloat16 as those of an f32.
fn wide_bits(half: u32) -> u32 { return half << 16u; }
