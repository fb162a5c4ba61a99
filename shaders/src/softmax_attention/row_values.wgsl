// Four neighbouring values of a row of {{ buffer }}, whose width is no multiple of four: past it, zeros are read and nothing is written.
fn load_{{ buffer }}(row: u32, c: u32) -> vec4<f32> {
    let p = vec4<u32>(c * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
    let at = vec4<u32>(row * P) + min(p, vec4<u32>(P - 1u));
    let values = vec4<f32>({{ buffer }}[at.x], {{ buffer }}[at.y], {{ buffer }}[at.z], {{ buffer }}[at.w]);
    return select(vec4<f32>(0.0), values, p < vec4<u32>(P));
}

fn store_{{ buffer }}(row: u32, c: u32, values: vec4<f32>) {
    for (var lane = 0u; lane < 4u; lane++) {
        if (c * 4u + lane < P) {
            {{ buffer }}[row * P + c * 4u + lane] = values[lane];
        }
    }
}
