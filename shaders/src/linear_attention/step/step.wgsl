// One token of linear attention: a workgroup takes {{ columns }} columns of one head's sums, four groups of invocations
// share out the rows.

@group(0) @binding(0) var<storage, read_write> query: array<f32>; // [B, H, P]
@group(0) @binding(1) var<storage, read_write> key: array<f32>;   // [B, H, P]
@group(0) @binding(2) var<storage, read_write> value: array<f32>; // [B, H, P]
@group(0) @binding(3) var<storage, read_write> kv: array<f32>;    // [B, H, P, P], changed in place
@group(0) @binding(4) var<storage, read_write> z: array<f32>;     // [B, H, P]
@group(0) @binding(5) var<storage, read_write> new_z: array<f32>; // [B, H, P]
@group(0) @binding(6) var<storage, read_write> y: array<f32>;     // [B, H, P]
@group(0) @binding(7) var<storage, read_write> info: array<u32>;  // workgroups, tiles of columns

const P = {{ width }}u;
const THREADS = {{ threads }}u;
const COLUMNS = {{ columns }}u;
const EPS = 1.0e-6;

var<workgroup> query_features: array<f32, {{ width }}>;
var<workgroup> key_features: array<f32, {{ width }}>;
var<workgroup> sums: array<f32, {{ threads }}>;
var<workgroup> norms: array<f32, {{ threads }}>;

fn features(x: f32) -> f32 {
    return select(exp(min(x, 0.0)), x + 1.0, x > 0.0);
}

@compute @workgroup_size({{ threads }}, 1, 1)
fn main(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = group_id.y * groups.x + group_id.x;
    let exists = group < info[0];
    let head = group / info[1];
    let tile = group % info[1];
    if (exists) {
        for (var p = thread; p < P; p += THREADS) {
            query_features[p] = features(query[head * P + p]);
            key_features[p] = features(key[head * P + p]);
        }
    }
    workgroupBarrier();
    let column = tile * COLUMNS + thread % COLUMNS;
    var sum = 0.0;
    if (exists && column < P) {
        let v = value[head * P + column];
        for (var p = thread / COLUMNS; p < P; p += THREADS / COLUMNS) {
            let at = (head * P + p) * P + column;
            let fresh = kv[at] + key_features[p] * v;
            kv[at] = fresh;
            sum += query_features[p] * fresh;
        }
    }
    sums[thread] = sum;
    var norm = 0.0;
    if (exists) {
        for (var p = thread; p < P; p += THREADS) {
            let fresh = z[head * P + p] + key_features[p];
            norm += query_features[p] * fresh;
            if (tile == 0u) {
                new_z[head * P + p] = fresh;
            }
        }
    }
    norms[thread] = norm;
    workgroupBarrier();
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        if (thread < half) {
            norms[thread] += norms[thread + half];
            if (half >= COLUMNS) {
                sums[thread] += sums[thread + half];
            }
        }
        workgroupBarrier();
    }
    if (exists && thread < COLUMNS && column < P) {
        y[head * P + column] = sums[thread] / (norms[0] + EPS);
    }
}
