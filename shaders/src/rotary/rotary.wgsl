// Queries and keys rotated, values copied, between a packed projection and its parts. An invocation takes, of one head at one
// position, a pair of turned columns or a column that stays, of all three: so that the divisions that find its place are few. A column
// is a value, or four neighbours where all sizes allow it; sizes count those.
@group(0) @binding(0) var<storage, read_write> x: array<{{ element }}>;      // (batch, len, heads, 3 width), or (3, batch, len, heads, width)
@group(0) @binding(1) var<storage, read_write> cosine: array<{{ element }}>; // (len, half)
@group(0) @binding(2) var<storage, read_write> sine: array<{{ element }}>;   // (len, half)
@group(0) @binding(3) var<storage, read_write> y: array<{{ element }}>;      // the other of the two layouts of x
@group(0) @binding(4) var<storage, read_write> info: array<u32>;   // invocations, len, heads, width, half, values of a part

// Element i of a part of a row, in either layout.
fn packed(row: u32, part: u32, i: u32) -> u32 {
  return (row * 3u + part) * info[3] + i;
}

fn apart(row: u32, part: u32, i: u32) -> u32 {
  return part * info[5] + row * info[3] + i;
}

fn keep(row: u32, part: u32, i: u32) {
  y[{{ to }}(row, part, i)] = x[{{ from }}(row, part, i)];
}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let at = (group.y * groups.x + group.x) * {{ threads }}u + thread;
  if (at >= info[0]) { return; }
  let half = info[4];
  let columns = info[3] - half;
  let row = at / columns;
  let i = at - row * columns;
  keep(row, 2u, i + half);
  if (i >= half) {
    keep(row, 0u, i + half);
    keep(row, 1u, i + half);
    return;
  }
  keep(row, 2u, i);
  let place = row / info[2] % info[1] * half + i;
  let c = cosine[place];
  let s = {{ sign }} * sine[place];
  //@ for part in 0..2
  let a_@part = x[{{ from }}(row, @partu, i)];
  let b_@part = x[{{ from }}(row, @partu, i + half)];
  y[{{ to }}(row, @partu, i)] = a_@part * c - b_@part * s;
  y[{{ to }}(row, @partu, i + half)] = b_@part * c + a_@part * s;
  //@ end
}
