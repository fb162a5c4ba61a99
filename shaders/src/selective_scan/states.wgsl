// What each chunk of the sequence adds to the carried state, all chunks at once: {{ what }}.
// A workgroup takes {{ threads }} neighbouring channels and {{ quads }} x 4 states of one chunk.

@group(0) @binding(0) var<storage, read_write> work: array<f32>;  // A [N, D], D [D], bias [D], B [B, L, N], C [B, L, N]
@group(0) @binding(1) var<storage, read_write> delta: array<f32>; // [B, L, D] {{ delta_is }}
@group(0) @binding(2) var<storage, read_write> x: array<f32>;     // [B, L, D] {{ x_is }}
@group(0) @binding(3) var<storage, read_write> ends: array<f32>;  // [B, chunks, rows, D]: N states, .., the sum of dt in row `sum`
@group(0) @binding(4) var<storage, read_write> info: array<u32>;  // B, L, D, N, chunks, workgroups, rows, sum, tiles, slices

const THREADS = {{ threads }}u;
const CHUNK = {{ chunk }}u;
const QUADS = {{ quads }}u;
const LOG2_E = 1.44269504;

var<workgroup> staged: array<vec4<f32>, {{ staged }}>; // (position, four states)

{{ softplus }}

{{ element }}
@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let len = info[1];
    let width = info[2];
    let state = info[3];
    let chunks = info[4];
    let rows = (state + 2u) * width + {{ rows }};
    let number = group.y * groups.x + group.x;
    var index = min(number, info[5] - 1u);
    let first_state = index % info[9] * QUADS * 4u;
    index /= info[9];
    let blocks = (width + THREADS - 1u) / THREADS;
    let own = index % blocks * THREADS + thread;
    index /= blocks;
    let chunk = index % chunks;
    let sample = index / chunks;
    let write = number < info[5] && own < width;
    let channel = min(own, width - 1u);

    for (var i = thread; i < CHUNK * QUADS; i += THREADS) {
        let position = chunk * CHUNK + i / QUADS;
        let n = first_state + i % QUADS * 4u;
        staged[i] = vec4<f32>(
            element(rows, sample, position, n),
            element(rows, sample, position, n + 1u),
            element(rows, sample, position, n + 2u),
            element(rows, sample, position, n + 3u),
        );
    }
    workgroupBarrier();

    let bias = work[(state + 1u) * width + channel];
    //@ for q in 0..{{ quads }}
    // Lanes past the last state repeat it; what they hold is not written.
    let n_@q = vec4<u32>(0u, 1u, 2u, 3u) + first_state + @qu * 4u;
    let at_@q = min(n_@q, vec4<u32>(state - 1u)) * width + channel;
    let a_@q = LOG2_E * vec4<f32>(work[at_@q.x], work[at_@q.y], work[at_@q.z], work[at_@q.w]);
    var h_@q = vec4<f32>(0.0);
    //@ end
    var sum = 0.0;
    for (var step = 0u; step < CHUNK; step++) {
        let row = {{ order }};
        let position = chunk * CHUNK + row;
        if (position < len) {
            let at = (sample * len + position) * width + channel;
            let dt = {{ dt }};
            let value = {{ value }};
            sum += dt;
            //@ for q in 0..{{ quads }}
            h_@q = {{ update }};
            //@ end
        }
    }
    if (write) {
        let first = (sample * chunks + chunk) * info[6];
        //@ for q in 0..{{ quads }}
        //@ for lane in 0..4
        if (n_@q[@lane] < state) {
            ends[(first + n_@q[@lane]) * width + channel] = h_@q[@lane];
        }
        //@ end
        //@ end
        if (first_state == 0u) {
            ends[(first + info[7]) * width + channel] = sum;
        }
    }
}
