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
        // Added to what is left of x, so that it belongs to the graph.
        let none = Tensor::zeros(dims, (&x.device(), x.dtype()));
        return x.sum_dim(D - 1) + none;
    }
    let product = x.reshape([rows, width_in]).matmul(weight.transpose());
    dims[D - 1] = width_out;
    match bias {
        Some(bias) => (product + bias.unsqueeze::<2>()).reshape(dims),
        None => product.reshape(dims),
    }
}
