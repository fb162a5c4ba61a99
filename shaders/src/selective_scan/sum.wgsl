// The gradients of B and C: sums over the blocks of channels.

@group(0) @binding(0) var<storage, read_write> work: array<f32>; // .., then for each block of channels [2, B, N, L]
@group(0) @binding(1) var<storage, read_write> db: array<f32>;   // [B, L, N]
@group(0) @binding(2) var<storage, read_write> dc: array<f32>;   // [B, L, N]
@group(0) @binding(3) var<storage, read_write> info: array<u32>; // B, L, N, blocks, start of the sums

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let len = info[1];
    let state = info[2];
    let values = info[0] * len * state;
    let index = (group.y * groups.x + group.x) * {{ threads }}u + thread;
    if (index >= 2u * values) { return; }
    var sum = 0.0;
    for (var block = 0u; block < info[3]; block++) {
        sum += work[info[4] + block * 2u * values + index];
    }
    let inner = index % values;
    let at = (inner / state / len * len + inner % len) * state + inner / len % state;
    if (index < values) {
        db[at] = sum;
    } else {
        dc[at] = sum;
    }
}
