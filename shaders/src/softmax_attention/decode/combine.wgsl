// Joins the parts of a cache: a mean of their results, weighted with what each sum is next to the largest score of all.
@group(0) @binding(0) var<storage, read_write> parts: array<f32>;       // [B, H, parts, P]
@group(0) @binding(1) var<storage, read_write> stats: array<vec2<f32>>; // [B, H, parts]: largest score (base 2), sum
@group(0) @binding(2) var<storage, read_write> result: array<f32>;      // [B, H, P]
@group(0) @binding(3) var<storage, read_write> info: array<u32>;        // B * H * P, parts

const P = {{ width }}u;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let at = (group_id.y * groups.x + group_id.x) * {{ threads }}u + thread;
    if (at >= info[0]) {
        return;
    }
    let count = info[1];
    let first = at / P * count;
    var peak = stats[first].x;
    for (var part = 1u; part < count; part++) {
        peak = max(peak, stats[first + part].x);
    }
    var sum = 0.0;
    var total = 0.0;
    for (var part = 0u; part < count; part++) {
        let row = first + part;
        let weight = stats[row].y * exp2(stats[row].x - peak);
        total += weight;
        sum += weight * parts[row * P + at % P];
    }
    result[at] = sum / total;
}
