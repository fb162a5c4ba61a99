// Queries and keys rotated, values copied, between a packed projection and its parts. An invocation takes, of one head at one
// position, a pair of turned columns or a column that stays, of all three: so that the divisions that find its place are few. A column
// is a value, or four neighbours where all sizes allow it; sizes count those.
alias Column = {{ element }};

@group(0) @binding(0) var<storage, read_write> packed: array<Column>; // (batch, len, heads, 3 width)
@group(0) @binding(1) var<storage, read_write> part_0: array<Column>; // (batch, len, heads, width): queries
@group(0) @binding(2) var<storage, read_write> part_1: array<Column>; // keys
@group(0) @binding(3) var<storage, read_write> part_2: array<Column>; // values
@group(0) @binding(4) var<storage, read_write> cosine: array<Column>; // (len, half)
@group(0) @binding(5) var<storage, read_write> sine: array<Column>;   // (len, half)
@group(0) @binding(6) var<storage, read_write> info: array<u32>;      // invocations, len, heads, width, half

//@ for part in 0..3
//@ for only in 0..{{ apart }}
fn take_@part(row: u32, i: u32) -> Column {
  return packed[(row * 3u + @partu) * info[3] + i];
}

fn put_@part(row: u32, i: u32, column: Column) {
  part_@part[row * info[3] + i] = column;
}
//@ end
//@ for only in 0..{{ together }}
fn take_@part(row: u32, i: u32) -> Column {
  return part_@part[row * info[3] + i];
}

fn put_@part(row: u32, i: u32, column: Column) {
  packed[(row * 3u + @partu) * info[3] + i] = column;
}
//@ end
//@ end

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
  put_2(row, i + half, take_2(row, i + half));
  if (i >= half) {
    put_0(row, i + half, take_0(row, i + half));
    put_1(row, i + half, take_1(row, i + half));
    return;
  }
  put_2(row, i, take_2(row, i));
  let place = row / info[2] % info[1] * half + i;
  let c = cosine[place];
  let s = {{ sign }} * sine[place];
  //@ for part in 0..2
  let a_@part = take_@part(row, i);
  let b_@part = take_@part(row, i + half);
  put_@part(row, i, a_@part * c - b_@part * s);
  put_@part(row, i + half, b_@part * c + a_@part * s);
  //@ end
}
