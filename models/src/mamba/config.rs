//! Sizes of the mixers.

use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::layers::dotted;

/// Sizes of a Mamba mixer (Gu & Dao 2023, arXiv 2312.00752).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MambaConfig {
    /// States of a channel.
    pub d_state: usize,
    /// Width of the convolution.
    pub d_conv: usize,
    /// Channels of the mixer: `expand` times `hidden_size`.
    pub expand: usize,
    /// Width that the step sizes are projected from.
    pub dt_rank: usize,
    /// Whether the convolution has a bias.
    pub conv_bias: bool,
    /// Whether `in_proj` and `out_proj` have biases.
    pub proj_bias: bool,
}

impl MambaConfig {
    /// The sizes that the source takes for a model of this width: 16 states, convolution of 4, twice the width, and
    /// a step size projected from `hidden_size / 16`, rounded up.
    pub fn for_width(hidden_size: usize) -> Self {
        Self {
            d_state: 16,
            d_conv: 4,
            expand: 2,
            dt_rank: hidden_size.div_ceil(16),
            conv_bias: true,
            proj_bias: false,
        }
    }

    /// Whether a mixer can have these sizes; `file` and `section` are named in messages.
    pub(crate) fn check(&self, file: &str, section: &str) -> Result<(), ModelError> {
        for (key, value, least) in [
            ("d_state", self.d_state, 1),
            ("d_conv", self.d_conv, 2),
            ("expand", self.expand, 1),
            ("dt_rank", self.dt_rank, 1),
        ] {
            at_least(file, &dotted(section, key), value, least)?;
        }
        Ok(())
    }
}

/// Sizes of a Mamba-2 mixer (Dao & Gu 2024, arXiv 2405.21060).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mamba2Config {
    /// Heads.
    pub num_heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// States of a channel.
    pub d_state: usize,
    /// Groups of heads that share B and C; divides `num_heads`.
    pub n_groups: usize,
    /// Width of the convolution.
    pub d_conv: usize,
    /// Whether the convolution has a bias.
    pub conv_bias: bool,
    /// Whether `in_proj` and `out_proj` have biases.
    pub proj_bias: bool,
}

impl Mamba2Config {
    /// The sizes that CALD takes for one direction of a bidirectional mixer (`expand` 1): heads of 64 channels, 128
    /// states, one group, a convolution of 4. A width that 64 does not divide gets the largest head of up to 64 that does.
    pub fn for_width(hidden_size: usize) -> Self {
        let fits = |&size: &usize| hidden_size.is_multiple_of(size);
        let head_dim = (1..=64).rev().find(fits).unwrap_or(1);
        Self {
            num_heads: hidden_size / head_dim,
            head_dim,
            d_state: 128,
            n_groups: 1,
            d_conv: 4,
            conv_bias: true,
            proj_bias: false,
        }
    }

    /// Channels of the mixer.
    pub fn channels(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Channels of its convolution, which also runs over B and C.
    pub(crate) fn mixed_channels(&self) -> usize {
        self.channels() + 2 * self.n_groups * self.d_state
    }

    /// Whether a mixer can have these sizes; `file` is named in messages.
    pub(crate) fn check(&self, file: &str) -> Result<(), ModelError> {
        if !self.num_heads.is_multiple_of(self.n_groups.max(1)) {
            return Err(ModelError::Config {
                file: file.to_string(),
                key: "n_groups".to_string(),
                expected: format!("a divisor of num_heads {}", self.num_heads),
                found: self.n_groups.to_string(),
                advice: "Use the config.json that was saved with the weights".to_string(),
            });
        }
        at_least(file, "conv_kernel", self.d_conv, 2)
    }
}

fn at_least(file: &str, key: &str, value: usize, least: usize) -> Result<(), ModelError> {
    if value >= least {
        return Ok(());
    }
    Err(ModelError::Config {
        file: file.to_string(),
        key: key.to_string(),
        expected: format!("a whole number of at least {least}"),
        found: value.to_string(),
        advice: "Correct the value".to_string(),
    })
}
