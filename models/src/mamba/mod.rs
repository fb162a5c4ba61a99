//! Mixers with a state in place of attention: work grows with the length, memory does not.
//!
//! Each runs whole sequences, differentiably (`forward`), and single tokens (`step`); its parameters have the names of
//! the original code.

mod config;
mod mamba1;
mod mamba2;
mod state;

use burn::tensor::Tensor;

pub use config::{Mamba2Config, MambaConfig};
pub(crate) use mamba1::MambaMixer;
pub(crate) use mamba2::Mamba2Mixer;
pub(crate) use state::{Mamba2State, MambaState};

use crate::ModelError;
use crate::layers::{Init, ParameterMut, ParameterRef, Parts, Walk, parameters};

/// The depthwise convolution in front of a scan.
#[derive(Debug, Clone)]
pub(crate) struct Convolution {
    /// [D, 1, W]
    pub weight: Tensor<3>,
    /// [D]
    pub bias: Option<Tensor<1>>,
}
parameters!(Convolution { weight => "weight", bias => "bias" });

impl Convolution {
    /// Of `channels` channels and `width` positions. Fresh, as PyTorch starts it: uniform within width^-½.
    fn build(
        parts: &mut Parts<'_>,
        name: &str,
        [channels, width]: [usize; 2],
        bias: bool,
    ) -> Result<Self, ModelError> {
        let (weight, shape) = (format!("{name}.weight"), [channels, 1, width]);
        let weight = parts.tensor(&weight, shape, within(width))?;
        let name = format!("{name}.bias");
        let bias = bias.then(|| parts.tensor(&name, [channels], within(width)));
        Ok(Self {
            weight,
            bias: bias.transpose()?,
        })
    }

    /// [D, W]
    fn matrix(&self) -> Tensor<2> {
        let [d, _, w] = self.weight.dims();
        self.weight.clone().reshape([d, w])
    }
}

/// PyTorch's start of a layer that sums so many values.
fn within(fan_in: usize) -> Init {
    Init::Uniform((fan_in as f64).powf(-0.5))
}

/// The step sizes that Mamba starts with.
const STEPS: Init = Init::InverseSoftplus(0.001, 0.1);

/// A mixer of either kind.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a model has one kind of them")]
pub(crate) enum StateSpaceMixer {
    Mamba(MambaMixer),
    Mamba2(Mamba2Mixer),
}

/// What a mixer of either kind remembers.
#[derive(Debug, Clone)]
pub(crate) enum StateSpaceState {
    Mamba(MambaState),
    Mamba2(Mamba2State),
}

impl StateSpaceMixer {
    /// [B, L, H] to the same, and the states after the last position.
    pub fn forward(&self, x: Tensor<3>) -> (Tensor<3>, StateSpaceState) {
        match self {
            Self::Mamba(mixer) => {
                let (y, state) = mixer.forward(x);
                (y, StateSpaceState::Mamba(state))
            }
            Self::Mamba2(mixer) => {
                let (y, state) = mixer.forward(x);
                (y, StateSpaceState::Mamba2(state))
            }
        }
    }

    /// One more token [B, H].
    ///
    /// # Panics
    /// When the state is that of the other kind.
    pub fn step(&self, x: Tensor<2>, state: StateSpaceState) -> (Tensor<2>, StateSpaceState) {
        match (self, state) {
            (Self::Mamba(mixer), StateSpaceState::Mamba(state)) => {
                let (y, state) = mixer.step(x, state);
                (y, StateSpaceState::Mamba(state))
            }
            (Self::Mamba2(mixer), StateSpaceState::Mamba2(state)) => {
                let (y, state) = mixer.step(x, state);
                (y, StateSpaceState::Mamba2(state))
            }
            _ => panic!("step: the state belongs to a model with another mixer"),
        }
    }
}

impl Walk for StateSpaceMixer {
    fn walk(&self, name: &str, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
        match self {
            Self::Mamba(mixer) => mixer.walk(name, visit),
            Self::Mamba2(mixer) => mixer.walk(name, visit),
        }
    }
    fn walk_mut(&mut self, name: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        match self {
            Self::Mamba(mixer) => mixer.walk_mut(name, visit),
            Self::Mamba2(mixer) => mixer.walk_mut(name, visit),
        }
    }
}
