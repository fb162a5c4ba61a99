// Rows of a table by their numbers: an invocation brings four values of one.
@group(0) @binding(0) var<storage, read_write> table: array<{{ four }}>; // (rows, width / 4)
@group(0) @binding(1) var<storage, read_write> ids: array<i32>;          // (n)
@group(0) @binding(2) var<storage, read_write> found: array<vec4<f32>>;  // (n, width / 4)
@group(0) @binding(3) var<storage, read_write> info: array<u32>;         // n, width / 4

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let i = (group.y * groups.x + group.x) * {{ threads }}u + thread;
  if (i >= info[0] * info[1]) { return; }
  let row = u32(ids[i / info[1]]);
  found[i] = {{ unpack }}(table[row * info[1] + i % info[1]]);
}
