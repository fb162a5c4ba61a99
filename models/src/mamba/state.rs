//! What mixers remember, however long the text was. B batch, D channels, W width of the convolution, N states.

use burn::tensor::{Device, Tensor};

use super::{Mamba2Config, MambaConfig, StateSpaceState};

/// Of a Mamba.
#[derive(Debug, Clone)]
pub(crate) struct MambaState {
    /// [B, D, W - 1]: the last inputs of the convolution.
    pub conv: Tensor<3>,
    /// [B, D, N]
    pub ssm: Tensor<3>,
    /// The mixer's A [D, N] once it was needed: its exponentials would take an eighth of every further token. No part of what
    /// the mixer remembers.
    pub a: Option<Box<Tensor<2>>>,
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
    /// Of one sample that has seen nothing, for a Mamba in a model of this width.
    pub fn mamba(config: &MambaConfig, hidden_size: usize, device: &Device) -> Self {
        let channels = config.expand * hidden_size;
        Self::Mamba(MambaState {
            conv: Tensor::zeros([1, channels, config.d_conv - 1], device),
            ssm: Tensor::zeros([1, channels, config.d_state], device),
            a: None,
        })
    }

    /// Of one sample that has seen nothing, for a Mamba-2.
    pub fn mamba2(config: &Mamba2Config, device: &Device) -> Self {
        let state = [1, config.num_heads, config.head_dim, config.d_state];
        Self::Mamba2(Mamba2State {
            conv: Tensor::zeros([1, config.mixed_channels(), config.d_conv - 1], device),
            ssm: Tensor::zeros(state, device),
        })
    }

    /// Values that it holds.
    pub fn num_elements(&self) -> usize {
        let shapes = match self {
            Self::Mamba(state) => [state.conv.shape(), state.ssm.shape()],
            Self::Mamba2(state) => [state.conv.shape(), state.ssm.shape()],
        };
        shapes.iter().map(|shape| shape.num_elements()).sum()
    }
}
