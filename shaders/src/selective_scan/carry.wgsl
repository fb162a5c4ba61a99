// Carries the state over the chunks, {{ what }}: what a chunk added becomes what it starts from. One invocation a state.

@group(0) @binding(0) var<storage, read_write> work: array<f32>;    // A [N, D], ..
@group(0) @binding(1) var<storage, read_write> ends: array<f32>;    // [B, chunks, rows, D]: N states, .., the sum of dt in row `sum`
//@ for once in 0..{{ forward }}
@group(0) @binding(2) var<storage, read_write> last: array<f32>;    // [B, D, N]
//@ end
//@ for once in 0..{{ resumed }}
@group(0) @binding(3) var<storage, read_write> initial: array<f32>; // [B, D, N]
//@ end
@group(0) @binding({{ info }}) var<storage, read_write> info: array<u32>; // B, L, D, N, chunks, workgroups, rows, sum

const LOG2_E = 1.44269504;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let width = info[2];
    let state = info[3];
    let chunks = info[4];
    let index = (group.y * groups.x + group.x) * {{ threads }}u + thread;
    if (index >= info[0] * state * width) { return; }
    let channel = index % width;
    let n = index / width % state;
    let sample = index / width / state;
    let a = LOG2_E * work[n * width + channel];
    var h = 0.0;
    //@ for once in 0..{{ resumed }}
    h = initial[(sample * width + channel) * state + n];
    //@ end
    for (var step = 0u; step < chunks; step++) {
        let chunk = {{ order }};
        let first = (sample * chunks + chunk) * info[6];
        let at = (first + n) * width + channel;
        let added = ends[at];
        ends[at] = h;
        // The decays of a chunk multiply to one of their summed steps.
        h = exp2(a * ends[(first + info[7]) * width + channel]) * h + added;
    }
    //@ for once in 0..{{ forward }}
    last[(sample * width + channel) * state + n] = h;
    //@ end
}
