// The scan of each chunk from the state that it starts from: y = (C . h + D u) silu(z).
// A workgroup takes {{ threads }} neighbouring channels of one chunk, {{ quads }} x 4 states at a time.

@group(0) @binding(0) var<storage, read_write> u: array<f32>;     // [B, L, D]
@group(0) @binding(1) var<storage, read_write> delta: array<f32>; // [B, L, D]
@group(0) @binding(2) var<storage, read_write> work: array<f32>;  // A [N, D], D [D], bias [D], B [B, L, N], C [B, L, N]
@group(0) @binding(3) var<storage, read_write> ends: array<f32>;  // [B, chunks, rows, D]: N states at the start of the chunk, ..
@group(0) @binding(4) var<storage, read_write> y: array<f32>;     // [B, L, D]
//@ for once in 0..{{ gated }}
@group(0) @binding(5) var<storage, read_write> z: array<f32>;     // [B, L, D]
//@ end
//@ for once in 0..{{ save }}
@group(0) @binding({{ saved }}) var<storage, read_write> saved: array<f32>; // [B, tiles, N, D] states at the start of each tile
//@ end
@group(0) @binding({{ info }}) var<storage, read_write> info: array<u32>; // B, L, D, N, chunks, workgroups, rows, sum, tiles, slices

const THREADS = {{ threads }}u;
const CHUNK = {{ chunk }}u;
const TILE = {{ tile }}u;
const QUADS = {{ quads }}u;
const LOG2_E = 1.44269504;

var<workgroup> staged_b: array<vec4<f32>, {{ staged }}>; // (position, four states)
var<workgroup> staged_c: array<vec4<f32>, {{ staged }}>;
var<workgroup> slices: u32;

{{ softplus }}
{{ sigmoid }}

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
    if (thread == 0u) {
        slices = info[9];
    }
    // Barriers lie in the loop over slices.
    let count = workgroupUniformLoad(&slices);
    let number = group.y * groups.x + group.x;
    var index = min(number, info[5] - 1u);
    let blocks = (width + THREADS - 1u) / THREADS;
    let own = index % blocks * THREADS + thread;
    index /= blocks;
    let chunk = index % chunks;
    let sample = index / chunks;
    let write = number < info[5] && own < width;
    let channel = min(own, width - 1u);
    let rows_b = (state + 2u) * width;
    let rows_c = rows_b + info[0] * len * state;
    let skip = work[state * width + channel];
    let bias = work[(state + 1u) * width + channel];

    for (var slice = 0u; slice < count; slice++) {
        let first_state = slice * QUADS * 4u;
        workgroupBarrier();
        for (var i = thread; i < CHUNK * QUADS; i += THREADS) {
            let position = chunk * CHUNK + i / QUADS;
            let n = first_state + i % QUADS * 4u;
            staged_b[i] = vec4<f32>(
                element(rows_b, sample, position, n),
                element(rows_b, sample, position, n + 1u),
                element(rows_b, sample, position, n + 2u),
                element(rows_b, sample, position, n + 3u),
            );
            staged_c[i] = vec4<f32>(
                element(rows_c, sample, position, n),
                element(rows_c, sample, position, n + 1u),
                element(rows_c, sample, position, n + 2u),
                element(rows_c, sample, position, n + 3u),
            );
        }
        workgroupBarrier();

        let first = (sample * chunks + chunk) * info[6];
        //@ for q in 0..{{ quads }}
        // Lanes past the last state repeat it; their B and C are zero.
        let n_@q = vec4<u32>(0u, 1u, 2u, 3u) + first_state + @qu * 4u;
        let from_@q = min(n_@q, vec4<u32>(state - 1u));
        let a_at_@q = from_@q * width + channel;
        let h_at_@q = (from_@q + first) * width + channel;
        let a_@q = LOG2_E * vec4<f32>(work[a_at_@q.x], work[a_at_@q.y], work[a_at_@q.z], work[a_at_@q.w]);
        var h_@q = vec4<f32>(ends[h_at_@q.x], ends[h_at_@q.y], ends[h_at_@q.z], ends[h_at_@q.w]);
        //@ end
        for (var step = 0u; step < CHUNK; step++) {
            let position = chunk * CHUNK + step;
            if (position < len) {
                //@ for once in 0..{{ save }}
                if (write && step % TILE == 0u) {
                    let tile = (sample * info[8] + position / TILE) * state;
                    //@ for q in 0..{{ quads }}
                    //@ for lane in 0..4
                    if (n_@q[@lane] < state) {
                        saved[(tile + n_@q[@lane]) * width + channel] = h_@q[@lane];
                    }
                    //@ end
                    //@ end
                }
                //@ end
                let at = (sample * len + position) * width + channel;
                let value = u[at];
                let dt = softplus(delta[at] + bias);
                var sum = 0.0;
                //@ for q in 0..{{ quads }}
                h_@q = exp2(dt * a_@q) * h_@q + dt * value * staged_b[step * QUADS + @qu];
                sum += dot(h_@q, staged_c[step * QUADS + @qu]);
                //@ end
                if (write) {
                    if (slice > 0u) {
                        sum += y[at];
                    }
                    if (slice == count - 1u) {
                        sum += skip * value;
                        //@ for once in 0..{{ gated }}
                        sum *= z[at] * sigmoid(z[at]);
                        //@ end
                    }
                    y[at] = sum;
                }
            }
        }
    }
}
