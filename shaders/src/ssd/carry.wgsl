// Turns what each chunk adds into the state on entering it, {{ direction }}: one invocation a value of the state.
@group(0) @binding(0) var<storage, read_write> states: array<f32>; // [B, chunks, H, P, N]
@group(0) @binding(1) var<storage, read_write> steps: array<Step>; // [B, L, H]
@group(0) @binding(2) var<storage, read_write> last: array<f32>;   // [B, H, P, N]: the state at first, where given, and at last
@group(0) @binding(3) var<storage, read_write> info: array<u32>;   // B, L, H, P * N, chunks, whether the first state is given

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) thread: u32,
) {
  let number = (group.y * groups.x + group.x) * {{ threads }}u + thread;
  let len = info[1];
  let heads = info[2];
  let area = info[3];
  let chunks = info[4];
  if (number >= info[0] * heads * area) { return; }
  let head = number / area % heads;
  let sample = number / (area * heads);
  var state = 0.0;
  if (info[5] == 1u) { state = last[number]; }
  for (var i = 0u; i < chunks; i++) {
    let chunk = {{ chunk }};
    let end = min(chunk * 64u + 64u, len) - 1u;
    let decay = steps[(sample * len + end) * heads + head].from_start;
    let at = ((sample * chunks + chunk) * heads + head) * area + number % area;
    let added = states[at];
    states[at] = state;
    state = state * decay + added;
  }
  last[number] = state;
}
