//! The Mamba-2 mixer (Dao & Gu 2024, arXiv 2405.21060). Shapes: B batch, L length, H hidden size, M heads of width P,
//! D = M P channels, G groups of N states, W width of the convolution.

use burn::tensor::Tensor;
use caldera_shaders::{
    ConvOutput, SsdInput, SsdOutput, causal_conv1d, causal_conv1d_step, gated_rmsnorm, ssd,
    ssd_step,
};

use super::{Convolution, Mamba2Config, Mamba2State, STEPS, within};
use crate::ModelError;
use crate::layers::{Init, Linear, Parts, RmsNorm, dotted, parameters};

/// A state space with one decay a head behind a short convolution, with a gated norm.
#[derive(Debug, Clone)]
pub(crate) struct Mamba2Mixer {
    /// [2 D + 2 G N + M, H]: gates, channels, B, C, step sizes.
    pub in_proj: Linear,
    /// Over channels, B and C.
    pub conv1d: Convolution,
    /// [M]
    pub dt_bias: Tensor<1>,
    /// [M]; A = -exp(A_log).
    pub a_log: Tensor<1>,
    /// [M]
    pub d: Tensor<1>,
    /// [D], for each group on its own.
    pub norm: RmsNorm,
    /// [H, D]
    pub out_proj: Linear,
    pub config: Mamba2Config,
    pub norm_eps: f64,
}
parameters!(Mamba2Mixer {
    in_proj => "in_proj",
    conv1d => "conv1d",
    dt_bias => "dt_bias",
    a_log => "A_log",
    d => "D",
    norm => "norm",
    out_proj => "out_proj",
});

impl Mamba2Mixer {
    /// For a model of width `hidden`. Fresh: A uniform in [1, 16], step sizes log-uniform in [0.001, 0.1], D and norm 1,
    /// projections and convolution as PyTorch starts them.
    pub fn build(
        parts: &mut Parts<'_>,
        name: &str,
        hidden: usize,
        config: Mamba2Config,
        norm_eps: f64,
    ) -> Result<Self, ModelError> {
        let (d, heads, bias) = (config.channels(), config.num_heads, config.proj_bias);
        let mixed = config.mixed_channels();
        let name = |part: &str| dotted(name, part);
        let taps = [mixed, config.d_conv];
        let wide = [d + mixed + heads, hidden];
        Ok(Self {
            in_proj: parts.linear(&name("in_proj"), wide, within(hidden), bias)?,
            conv1d: Convolution::build(parts, &name("conv1d"), taps, config.conv_bias)?,
            dt_bias: parts.tensor(&name("dt_bias"), [heads], STEPS)?,
            a_log: parts.tensor(&name("A_log"), [heads], Init::LogOfUniform(1.0, 16.0))?,
            d: parts.tensor(&name("D"), [heads], Init::Ones)?,
            norm: parts.rms_norm(&name("norm"), d)?,
            out_proj: parts.linear(&name("out_proj"), [hidden, d], within(d), bias)?,
            config,
            norm_eps,
        })
    }

    /// Gates [.., D], what the convolution runs over [.., D + 2 G N], step sizes [.., M] of x [.., H].
    fn expand<const K: usize>(&self, x: Tensor<K>) -> [Tensor<K>; 3] {
        let (d, mixed) = (self.config.channels(), self.config.mixed_channels());
        let all = self.in_proj.forward(x);
        let part = |start: usize, width: usize| all.clone().narrow(K - 1, start, width);
        [
            part(0, d),
            part(d, mixed),
            part(d + mixed, self.config.num_heads),
        ]
    }

    /// Channels [.., D], B and C [.., G N] of what the convolution gave.
    fn split<const K: usize>(&self, mixed: Tensor<K>) -> [Tensor<K>; 3] {
        let (d, states) = (
            self.config.channels(),
            self.config.n_groups * self.config.d_state,
        );
        let part = |start: usize, width: usize| mixed.clone().narrow(K - 1, start, width);
        [part(0, d), part(d, states), part(d + states, states)]
    }

    fn a(&self) -> Tensor<1> {
        self.a_log.clone().exp().neg()
    }

    /// The gated norm of y and z [B, L, D], and the projection back.
    fn close(&self, y: Tensor<3>, z: Tensor<3>) -> Tensor<3> {
        let (weight, groups) = (self.norm.weight.clone(), self.config.n_groups);
        self.out_proj
            .forward(gated_rmsnorm(y, z, weight, groups, self.norm_eps))
    }

    /// [B, L, H] to the same, and the states after the last position.
    pub fn forward(&self, x: Tensor<3>) -> (Tensor<3>, Mamba2State) {
        let [b, l, _] = x.dims();
        let Mamba2Config {
            num_heads,
            head_dim,
            n_groups,
            d_state,
            ..
        } = self.config;
        let [z, mixed, dt] = self.expand(x);
        let (weight, bias) = (self.conv1d.matrix(), self.conv1d.bias.clone());
        let ConvOutput {
            y: mixed,
            state: conv,
        } = causal_conv1d(mixed, weight, bias, None, true);
        let [x, input, output] = self.split(mixed);
        let groups = [b, l, n_groups, d_state];
        let SsdOutput { y, final_state } = ssd(SsdInput {
            x: x.reshape([b, l, num_heads, head_dim]),
            dt,
            a: self.a(),
            b: input.reshape(groups),
            c: output.reshape(groups),
            d: self.d.clone(),
            dt_bias: self.dt_bias.clone(),
            initial_state: None,
        });
        let state = Mamba2State {
            conv,
            ssm: final_state,
        };
        (self.close(y.reshape(z.dims()), z), state)
    }

    /// One more token [B, H].
    pub fn step(&self, x: Tensor<2>, state: Mamba2State) -> (Tensor<2>, Mamba2State) {
        let [b, h] = x.dims();
        let Mamba2Config {
            num_heads,
            head_dim,
            n_groups,
            d_state,
            ..
        } = self.config;
        let [z, mixed, dt] = self.expand(x);
        let (weight, bias) = (self.conv1d.matrix(), self.conv1d.bias.clone());
        let (mixed, conv) = causal_conv1d_step(mixed, weight, bias, state.conv, true);
        let [x, input, output] = self.split(mixed);
        let (y, ssm) = ssd_step(
            x.reshape([b, num_heads, head_dim]),
            dt,
            self.a(),
            input.reshape([b, n_groups, d_state]),
            output.reshape([b, n_groups, d_state]),
            self.d.clone(),
            self.dt_bias.clone(),
            state.ssm,
        );
        let row = [b, 1, self.config.channels()];
        let y = self.close(y.reshape(row), z.reshape(row));
        (y.reshape([b, h]), Mamba2State { conv, ssm })
    }
}
