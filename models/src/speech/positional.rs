//! The positional convolution: wide, grouped, with a weight norm over its positions.

use burn::tensor::Tensor;
use caldera_shaders::{conv1d, gelu};

use crate::layers::{Packed, parameters};

/// Shapes: H hidden size, G groups, K width.
#[derive(Debug, Clone)]
pub(crate) struct PositionalConvolution {
    /// [H]
    pub bias: Tensor<1>,
    /// [1, 1, K]: what each position's weights are scaled to.
    pub gain: Tensor<3>,
    /// [H, H / G, K]
    pub direction: Tensor<3>,
    /// [G, K H / G, H / G]
    pub packed: Packed<3>,
}
parameters!(PositionalConvolution {
    bias => "conv.bias",
    gain => "conv.parametrizations.weight.original0",
    direction => "conv.parametrizations.weight.original1",
    packed => "",
});

impl PositionalConvolution {
    /// [H, H / G, K]: gain · direction / ‖direction‖, the norm over everything but the position (Salimans & Kingma 2016,
    /// arXiv 1602.07868).
    pub fn weight(&self) -> Tensor<3> {
        let squares = self.direction.clone().square().sum_dim(0).sum_dim(1);
        self.direction.clone() * (self.gain.clone() / squares.sqrt())
    }

    /// [B, T, H] to the same, behind its GELU.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, frames, hidden] = x.dims();
        let [_, width, kernel] = self.direction.dims();
        let groups = hidden / width;
        // An even kernel gives a frame too many at the end, which is dropped; so it is not padded for.
        let (before, after) = (kernel / 2, (kernel - 1) / 2);
        let zeros = |count: usize| Tensor::zeros([batch, count, hidden], &x.device());
        let parts = [
            (before > 0).then(|| zeros(before)),
            Some(x.clone()),
            (after > 0).then(|| zeros(after)),
        ];
        let by_group = Tensor::cat(parts.into_iter().flatten().collect(), 1)
            .reshape([batch, before + frames + after, groups, width])
            .permute([0, 2, 1, 3])
            .reshape([batch * groups, before + frames + after, width]);
        let weight = self.packed.get(|| {
            self.weight()
                .reshape([groups, width, width, kernel])
                .permute([0, 3, 2, 1])
                .reshape([groups, kernel * width, width])
        });
        let bias = self.bias.clone().reshape([groups, width]);
        let y = conv1d(by_group, weight, Some(bias), 1)
            .reshape([batch, groups, frames, width])
            .permute([0, 2, 1, 3])
            .reshape([batch, frames, hidden]);
        gelu(y)
    }
}
