// One query token against a part of its cache, for one sample and head. Scores of the part lie in workgroup memory; the
// weighted sum of the values is shared out over columns and over positions, so that neighbours read neighbours.

{{ rows_of }}

@group(0) @binding(0) var<storage, read_write> query: array<{{ element }}>;  // [B, H, P]
@group(0) @binding(1) var<storage, read_write> key: array<{{ element }}>;    // [B, C, H, P]
@group(0) @binding(2) var<storage, read_write> value: array<{{ element }}>;  // [B, C, H, P]
@group(0) @binding(3) var<storage, read_write> result: array<{{ element }}>; // [B, H, parts, P], each divided by its own sum
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<f32>>; // [B, H, parts]: largest score (base 2), sum
// C, H, filled, positions of a part, parts, workgroups, scale as f32 bits
@group(0) @binding(5) var<storage, read_write> info: array<u32>;

const P = {{ width }}u;
const P4 = {{ width4 }}u;
const THREADS = {{ threads }}u;
// Positions that are summed side by side.
const LANES = THREADS / P4;
const LOWEST = -3.0e38;

var<workgroup> weights: array<f32, {{ part }}>;
var<workgroup> lanes: array<f32, {{ threads }}>;
var<workgroup> columns: array<vec4<f32>, {{ threads }}>;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = group_id.y * groups.x + group_id.x;
    let exists = group < info[5];
    let heads = info[1];
    let sequence = group / info[4];
    let first = group % info[4] * info[3];
    var count = 0u;
    if (exists) {
        count = min(info[3], info[2] - first);
    }
    let row0 = (sequence / heads * info[0] + first) * heads + sequence % heads;
    // Base 2: exp2 is what the hardware has.
    let scale = bitcast<f32>(info[6]) * 1.44269504;
    //@ for c in 0..{{ width4 }}
    var q_@c = vec4<f32>(0.0);
    //@ end
    if (exists) {
        //@ for c in 0..{{ width4 }}
        q_@c = load_query(sequence, @cu) * scale;
        //@ end
    }
    var largest = LOWEST;
    for (var j = thread; j < count; j += THREADS) {
        let row = row0 + j * heads;
        var score = 0.0;
        //@ for c in 0..{{ width4 }}
        score += dot(q_@c, load_key(row, @cu));
        //@ end
        weights[j] = score;
        largest = max(largest, score);
    }
    lanes[thread] = largest;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if (thread < half) {
            lanes[thread] = max(lanes[thread], lanes[thread + half]);
        }
        workgroupBarrier();
    }
    let peak = lanes[0];
    workgroupBarrier();

    var total = 0.0;
    for (var j = thread; j < count; j += THREADS) {
        let weight = exp2(weights[j] - peak);
        weights[j] = weight;
        total += weight;
    }
    lanes[thread] = total;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if (thread < half) {
            lanes[thread] += lanes[thread + half];
        }
        workgroupBarrier();
    }

    var sum = vec4<f32>(0.0);
    let lane = thread / P4;
    if (lane < LANES) {
        for (var j = lane; j < count; j += LANES) {
            sum += weights[j] * load_value(row0 + j * heads, thread % P4);
        }
    }
    columns[thread] = sum;
    workgroupBarrier();
    if (exists && thread < P4) {
        for (var other = 1u; other < LANES; other++) {
            sum += columns[other * P4 + thread];
        }
        store_result(group, thread, sum / lanes[0]);
        if (thread == 0u) {
            stats[group] = vec2<f32>(peak, lanes[0]);
        }
    }
}
