//! The rotation in plain Burn tensor operations: the named alternative in benchmarks.

use burn::tensor::Tensor;

/// The same as [`crate::rotary()`].
pub fn rotary(packed: Tensor<4>, cos: Tensor<2>, sin: Tensor<2>) -> [Tensor<4>; 3] {
    let [_, len, _, triple] = packed.dims();
    let [_, half] = cos.dims();
    let width = triple / 3;
    let part = |index: usize| packed.clone().narrow(3, index * width, width);
    // Nothing to turn; Burn does not reshape tables of no positions.
    if half == 0 || len == 0 {
        return [0, 1, 2].map(part);
    }
    let [cos, sin] = [cos, sin].map(|table| table.reshape([1, len, 1, half]));
    let rotate = |x: Tensor<4>| {
        let (a, b) = (
            x.clone().narrow(3, 0, half),
            x.clone().narrow(3, half, half),
        );
        let mut parts = vec![
            a.clone() * cos.clone() - b.clone() * sin.clone(),
            b * cos.clone() + a * sin.clone(),
        ];
        if 2 * half < width {
            parts.push(x.narrow(3, 2 * half, width - 2 * half));
        }
        Tensor::cat(parts, 3)
    };
    [rotate(part(0)), rotate(part(1)), part(2)]
}
