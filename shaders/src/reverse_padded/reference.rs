//! Reversal of time in plain Burn tensor operations: the named alternative in benchmarks.

use burn::tensor::Tensor;

use crate::Lengths;

/// The same as [`crate::reverse_padded()`], sample by sample.
pub fn reverse_padded(x: Tensor<3>, lengths: &Lengths) -> Tensor<3> {
    let [batch, len, channels] = x.dims();
    // Burn concatenates no empty list.
    if x.dims().contains(&0) {
        return x;
    }
    let samples = (0..batch)
        .map(|sample| {
            let n = lengths.as_slice()[sample] as usize;
            let mut parts = Vec::new();
            if n > 0 {
                let real = x.clone().narrow(0, sample, 1).narrow(1, 0, n);
                parts.push(real.flip([1]));
            }
            if n < len {
                let options = (&x.device(), x.dtype());
                parts.push(Tensor::zeros([1, len - n, channels], options));
            }
            Tensor::cat(parts, 1)
        })
        .collect();
    Tensor::cat(samples, 0)
}
