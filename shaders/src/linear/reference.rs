//! The linear layer in plain Burn tensor operations: the named alternative in benchmarks.

use burn::tensor::Tensor;

/// y = x Wᵀ + b; see [`crate::linear()`].
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut dims = x.dims();
    let [width_out, width_in] = weight.dims();
    let rows = dims[..D - 1].iter().product();
    if rows == 0 {
        dims[D - 1] = width_out;
        // Nothing of what goes in is left, but the gradients find their way.
        let none = Tensor::zeros(dims, (&x.device(), x.dtype()));
        let mut y = x.sum_dim(D - 1) + none + (weight.sum() * 0.0).reshape([1; D]);
        if let Some(bias) = bias {
            y = y + (bias.sum() * 0.0).reshape([1; D]);
        }
        return y;
    }
    let product = x.reshape([rows, width_in]).matmul(weight.transpose());
    dims[D - 1] = width_out;
    match bias {
        Some(bias) => (product + bias.unsqueeze::<2>()).reshape(dims),
        None => product.reshape(dims),
    }
}
