// Queries and keys rotated, values copied, between a packed projection and its parts: a value an invocation.
@group(0) @binding(0) var<storage, read_write> x: array<f32>;    // (batch, len, heads, 3 width), or (3, batch, len, heads, width)
@group(0) @binding(1) var<storage, read_write> cosine: array<f32>; // (len, half)
@group(0) @binding(2) var<storage, read_write> sine: array<f32>;   // (len, half)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // the other of the two layouts of x
@group(0) @binding(4) var<storage, read_write> info: array<u32>; // values, len, heads, width, half

fn value(row: u32, part: u32, i: u32, width: u32, third: u32) -> f32 {
  return x[{{ read }}];
}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = (group.y * groups.x + group.x) * {{ threads }}u + thread;
  if (at >= info[0]) { return; }
  let width = info[3];
  let half = info[4];
  let third = info[0] / 3u;
  // In the order of the packed layout: row, part, i.
  let row = at / (3u * width);
  let part = at / width % 3u;
  let i = at % width;
  var turned = value(row, part, i, width, third);
  if (part < 2u && i < 2u * half) {
    let place = row / info[2] % info[1] * half + i % half;
    let first = i < half;
    let across = value(row, part, select(i - half, i + half, first), width, third);
    turned = turned * cosine[place] + select(1.0, -1.0, first) * {{ sign }} * across * sine[place];
  }
  y[{{ write }}] = turned;
}
