//! What mixers remember, however long the text was. B batch, D channels, W width of the convolution, N states.

use burn::tensor::Tensor;

use super::StateSpaceState;

/// Of a Mamba.
#[derive(Debug, Clone)]
pub(crate) struct MambaState {
    /// [B, D, W - 1]: the last inputs of the convolution.
    pub conv: Tensor<3>,
    /// [B, D, N]
    pub ssm: Tensor<3>,
}

/// Of a Mamba-2; its convolution also runs over B and C.
#[derive(Debug, Clone)]
pub(crate) struct Mamba2State {
    /// [B, D + 2 G N, W - 1]: the last inputs of the convolution, G groups.
    pub conv: Tensor<3>,
    /// [B, heads, width of a head, N]
    pub ssm: Tensor<4>,
}

impl StateSpaceState {
    /// Values that it holds.
    pub fn num_elements(&self) -> usize {
        let shapes = match self {
            Self::Mamba(state) => [state.conv.shape(), state.ssm.shape()],
            Self::Mamba2(state) => [state.conv.shape(), state.ssm.shape()],
        };
        shapes.iter().map(|shape| shape.num_elements()).sum()
    }
}
