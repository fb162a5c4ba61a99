// Two 16-bit floats a word, as f32. Written as bits: WGSL promises nothing of NaN in a float.
@group(0) @binding(0) var<storage, read_write> words: array<u32>; // (n / 2, rounded up)
@group(0) @binding(1) var<storage, read_write> wide: array<u32>;  // (n)
@group(0) @binding(2) var<storage, read_write> info: array<u32>;  // n

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * {{ threads }}u + thread;
  if (2u * i >= info[0]) { return; }
  let word = words[i];
  wide[2u * i] = wide_bits(word & 0xffffu);
  if (2u * i + 1u < info[0]) { wide[2u * i + 1u] = wide_bits(word >> 16u); }
}
