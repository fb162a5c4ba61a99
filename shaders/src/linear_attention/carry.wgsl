// Carries sums over the chunks, in place, one of the (P + 1) P values of a sample and head an invocation. Causal: each chunk
// gets the sum of those before it (backward: behind it). Otherwise the first chunk gets the sum of all.

@group(0) @binding(0) var<storage, read_write> states: array<f32>; // [B, H, chunks, P + 1, P]
//@ for only in 0..{{ final }}
@group(0) @binding(1) var<storage, read_write> kv: array<f32>; // [B, H, P, P]: the sum of all
@group(0) @binding(2) var<storage, read_write> z: array<f32>;  // [B, H, P]
//@ end
@group(0) @binding({{ info }}) var<storage, read_write> info: array<u32>; // B * H * (P + 1) * P, chunks

const P = {{ width }}u;
const VALUES = (P + 1u) * P;

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let number = (group_id.y * groups.x + group_id.x) * {{ threads }}u + thread;
    if (number >= info[0]) {
        return;
    }
    let head = number / VALUES;
    let value = number % VALUES;
    let chunks = info[1];
    let first = head * chunks * VALUES + value;
    var sum = 0.0;
    for (var passed = 0u; passed < chunks; passed++) {
        let at = first + {{ chunk }} * VALUES;
        let own = states[at];
        //@ for only in 0..{{ causal }}
        states[at] = sum;
        //@ end
        sum += own;
    }
    //@ for only in 0..{{ whole }}
    states[first] = sum;
    //@ end
    //@ for only in 0..{{ final }}
    if (value < P * P) {
        kv[head * P * P + value] = sum;
    } else {
        z[head * P + value - P * P] = sum;
    }
    //@ end
}
