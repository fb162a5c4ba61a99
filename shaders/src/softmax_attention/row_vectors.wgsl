// Four neighbouring values of a row of {{ buffer }}: rows are whole vectors.
fn load_{{ buffer }}(row: u32, c: u32) -> vec4<f32> {
    return {{ buffer }}[row * P4 + c];
}

fn store_{{ buffer }}(row: u32, c: u32, values: vec4<f32>) {
    {{ buffer }}[row * P4 + c] = values;
}
