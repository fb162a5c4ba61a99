// Every gradient of a chunk. A workgroup takes {{ threads }} neighbouring channels of one chunk, its tiles from the last to the
// first and the states one after the other: the states of a tile are computed again from the saved one at its start, and
// the adjoint l_t = g_t C_t + decay_(t+1) l_(t+1) runs back over them.

@group(0) @binding(0) var<storage, read_write> u: array<f32>;       // [B, L, D]
@group(0) @binding(1) var<storage, read_write> dt: array<f32>;      // [B, L, D] steps, replaced by the gradient of delta
@group(0) @binding(2) var<storage, read_write> g: array<f32>;       // [B, L, D] gradient before the gate, replaced by that of u
// A [N, D], D [D], bias [D], B [B, L, N], C [B, L, N]; then for each block of channels sums for B and C, [2, B, N, L]
@group(0) @binding(3) var<storage, read_write> work: array<f32>;
@group(0) @binding(4) var<storage, read_write> saved: array<f32>;   // [B, tiles, N, D] states at the start of each tile
// [B, chunks, 2 N + 2, D]: decay x adjoint of what follows the chunk, then sums over the chunk for A, D and bias
@group(0) @binding(5) var<storage, read_write> adjoint: array<f32>;
//@ for once in 0..{{ gated }}
@group(0) @binding(6) var<storage, read_write> slope: array<f32>;   // [B, L, D] dy silu'(z), replaced by the gradient of z
//@ end
@group(0) @binding({{ info }}) var<storage, read_write> info: array<u32>; // B, L, D, N, chunks, workgroups, rows, sum, tiles

const THREADS = {{ threads }}u;
const CHUNK = {{ chunk }}u;
const TILE = {{ tile }}u;
const TILES = CHUNK / TILE;
const LOG2_E = 1.44269504;
// One more than the channels, so that invocations that each sum a row do not meet in one bank.
const STRIDE = THREADS + 1u;

var<workgroup> products: array<f32, {{ products }}>; // (B then C, position, channel)
var<workgroup> halves: array<f32, {{ threads }}>;    // sums over half of the channels
var<workgroup> rows: array<f32, 64>;                 // for one state and the next: (state, B then C, position)

var<workgroup> states: u32;                          // N; a loop with barriers goes up to it

// 1 - e^-x, the slope of softplus where it is x.
fn slope_of_softplus(x: f32) -> f32 {
    var series = 1.0 - x / 7.0;
    series = 1.0 - x / 6.0 * series;
    series = 1.0 - x / 5.0 * series;
    series = 1.0 - x / 4.0 * series;
    series = 1.0 - x / 3.0 * series;
    series = 1.0 - x / 2.0 * series;
    return select(1.0 - exp(-x), x * series, x < 0.5);
}

// Element n of B (i < 16) or C at the tile's position i % 16.
fn row(sample: u32, first: u32, n: u32, i: u32) -> f32 {
    let len = info[1];
    let state = info[3];
    let start = (state + 2u) * info[2] + i / TILE * info[0] * len * state;
    return work[start + (sample * len + min(first + i % TILE, len - 1u)) * state + n];
}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let batch = info[0];
    let len = info[1];
    let width = info[2];
    let chunks = info[4];
    if (thread == 0u) {
        states = info[3];
    }
    let state = workgroupUniformLoad(&states);
    let number = group.y * groups.x + group.x;
    let exists = number < info[5];
    var index = min(number, info[5] - 1u);
    let blocks = (width + THREADS - 1u) / THREADS;
    let block = index % blocks;
    let own = block * THREADS + thread;
    index /= blocks;
    let chunk = index % chunks;
    let sample = index / chunks;
    let write = exists && own < width;
    let channel = min(own, width - 1u);
    let skip = work[state * width + channel];
    let sums = (state + 2u) * width + (2u + 2u * block + thread / TILE % 2u) * batch * len * state;
    let first_row = (sample * chunks + chunk) * info[6];
    var d_skip = 0.0;
    var d_bias = 0.0;

    for (var done = 0u; done < TILES; done++) {
        let tile = chunk * TILES + TILES - 1u - done;
        let first = tile * TILE;
        let saved_row = (sample * info[8] + min(tile, info[8] - 1u)) * state;
        //@ for t in 0..16
        // Steps of 0 past the end and beside the last channel: nothing decays and nothing is added.
        let inside_@t = write && first + @tu < len;
        let at_@t = (sample * len + min(first + @tu, len - 1u)) * width + channel;
        let dt_@t = select(0.0, dt[at_@t], inside_@t);
        let u_@t = select(0.0, u[at_@t], inside_@t);
        let g_@t = select(0.0, g[at_@t], inside_@t);
        var du_@t = 0.0;
        var ddt_@t = 0.0;
        var y_@t = 0.0;
        //@ end
        if (thread < 32u) {
            rows[thread] = row(sample, first, 0u, thread);
        }
        workgroupBarrier();
        for (var n = 0u; n < state; n++) {
            let turn = n % 2u * 32u;
            let a = work[n * width + channel];
            let a2 = a * LOG2_E;
            var h = saved[(saved_row + n) * width + channel];
            //@ for t in 0..16
            let decay_@t = exp2(dt_@t * a2);
            let kept_@t = decay_@t * h;
            h = kept_@t + dt_@t * u_@t * rows[turn + @tu];
            y_@t += rows[turn + 16u + @tu] * h;
            products[(16u + @tu) * STRIDE + thread] = g_@t * h;
            //@ end
            let adjoint_at = (first_row + n) * width + channel;
            // The last channel's is written by its own invocation meanwhile: those beside it do not read it.
            var l = 0.0;
            if (write) {
                l = adjoint[adjoint_at];
            }
            var da = 0.0;
            //@ for t in 0..16 reversed
            l += g_@t * rows[turn + 16u + @tu];
            products[@tu * STRIDE + thread] = l * dt_@t * u_@t;
            du_@t += l * rows[turn + @tu];
            ddt_@t += l * (rows[turn + @tu] * u_@t + a * kept_@t);
            da += l * dt_@t * kept_@t;
            l *= decay_@t;
            //@ end
            if (write) {
                let sum_at = adjoint_at + state * width;
                adjoint[adjoint_at] = l;
                if (done > 0u) {
                    da += adjoint[sum_at];
                }
                adjoint[sum_at] = da;
            }
            workgroupBarrier();
            var sum = 0.0;
            for (var i = 0u; i < THREADS / 2u; i++) {
                sum += products[thread % 32u * STRIDE + thread / 32u * 32u + i];
            }
            halves[thread] = sum;
            if (thread < 32u && n + 1u < state) {
                rows[(n + 1u) % 2u * 32u + thread] = row(sample, first, n + 1u, thread);
            }
            workgroupBarrier();
            let position = first + thread % TILE;
            if (exists && thread < 32u && position < len) {
                work[sums + (sample * state + n) * len + position] = halves[thread] + halves[thread + 32u];
            }
        }
        //@ for t in 0..16
        if (inside_@t) {
            let ddelta = ddt_@t * slope_of_softplus(dt_@t);
            dt[at_@t] = ddelta;
            g[at_@t] = skip * g_@t + dt_@t * du_@t;
            d_skip += g_@t * u_@t;
            d_bias += ddelta;
            //@ for once in 0..{{ gated }}
            slope[at_@t] *= y_@t + skip * u_@t;
            //@ end
        }
        //@ end
    }
    if (write) {
        adjoint[(first_row + 2u * state) * width + channel] = d_skip;
        adjoint[(first_row + 2u * state + 1u) * width + channel] = d_bias;
    }
}
