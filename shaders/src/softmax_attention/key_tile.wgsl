
// A tile of keys and values in workgroup memory, for the kernels whose invocations hold query rows.
var<workgroup> keys: array<vec4<f32>, {{ tile_vectors }}>;
var<workgroup> values: array<vec4<f32>, {{ tile_vectors }}>;

// Brings the keys and values `start..end`, TILE at most; zeros behind them.
fn bring_keys(at: Place, start: u32, end: u32, thread: u32) {
    for (var t = thread; t < TILE * P4; t += THREADS) {
        let j = start + t / P4;
        var k = vec4<f32>(0.0);
        var v = vec4<f32>(0.0);
        if (j < end) {
            let row = (at.b * at.keys_len + j) * at.heads + at.h;
            k = load_key(row, t % P4);
            v = load_value(row, t % P4);
        }
        keys[t] = k;
        values[t] = v;
    }
}
