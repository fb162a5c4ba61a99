//! The Mamba mixer (Gu & Dao 2023, arXiv 2312.00752). Shapes: B batch, L length, H hidden size, D = expand x H
//! channels, N states, R rank of the step sizes, W width of the convolution.

use burn::tensor::Tensor;
use caldera_shaders::selective_scan::{ScanInput, ScanOutput, ScanStepInput};
use caldera_shaders::{
    ConvOutput, causal_conv1d, causal_conv1d_step, linear, selective_scan, selective_scan_step,
};

use super::{Convolution, MambaConfig, MambaState, STEPS, within};
use crate::ModelError;
use crate::layers::{Init, Linear, Parts, dotted, parameters};

/// A gated selective state space behind a short convolution.
#[derive(Debug, Clone)]
pub(crate) struct MambaMixer {
    /// [2 D, H]: the channels, then their gates.
    pub in_proj: Linear,
    pub conv1d: Convolution,
    /// [R + 2 N, D]: step sizes, B, C.
    pub x_proj: Linear,
    /// [D, R], with the bias of the step sizes.
    pub dt_proj: Linear,
    /// [D, N]; A = -exp(A_log).
    pub a_log: Tensor<2>,
    /// [D]
    pub d: Tensor<1>,
    /// [H, D]
    pub out_proj: Linear,
}
parameters!(MambaMixer {
    in_proj => "in_proj",
    conv1d => "conv1d",
    x_proj => "x_proj",
    dt_proj => "dt_proj",
    a_log => "A_log",
    d => "D",
    out_proj => "out_proj",
});

/// What the scan takes beside its channels: δ [.., D], B [.., N], C [.., N].
struct Selected<const K: usize> {
    delta: Tensor<K>,
    b: Tensor<K>,
    c: Tensor<K>,
}

impl MambaMixer {
    /// For a model of width `hidden`. Fresh, as the source has it: A_log = ln(1..N), D = 1, the bias of the step sizes so
    /// that these are log-uniform in [0.001, 0.1], their weight uniform within dt_rank^-½; projections and convolution
    /// as PyTorch starts them, uniform within (values in the sum)^-½.
    pub fn build(
        parts: &mut Parts<'_>,
        name: &str,
        hidden: usize,
        config: MambaConfig,
    ) -> Result<Self, ModelError> {
        let MambaConfig {
            d_state: n,
            dt_rank: rank,
            proj_bias: bias,
            ..
        } = config;
        let d = config.expand * hidden;
        let name = |part: &str| dotted(name, part);
        let mut dt_proj = parts.linear(&name("dt_proj"), [d, rank], within(rank), false)?;
        dt_proj.bias = Some(parts.tensor(&name("dt_proj.bias"), [d], STEPS)?);
        let taps = [d, config.d_conv];
        Ok(Self {
            in_proj: parts.linear(&name("in_proj"), [2 * d, hidden], within(hidden), bias)?,
            conv1d: Convolution::build(parts, &name("conv1d"), taps, config.conv_bias)?,
            x_proj: parts.linear(&name("x_proj"), [rank + 2 * n, d], within(d), false)?,
            dt_proj,
            a_log: parts.tensor(&name("A_log"), [d, n], Init::LogOfCount)?,
            d: parts.tensor(&name("D"), [d], Init::Ones)?,
            out_proj: parts.linear(&name("out_proj"), [hidden, d], within(d), bias)?,
        })
    }

    /// Channels and gates [.., D] of x [.., H].
    fn expand<const K: usize>(&self, x: Tensor<K>) -> [Tensor<K>; 2] {
        let [d] = self.d.dims();
        let both = self.in_proj.forward(x);
        [both.clone().narrow(K - 1, 0, d), both.narrow(K - 1, d, d)]
    }

    fn select<const K: usize>(&self, u: Tensor<K>) -> Selected<K> {
        let [_, rank] = self.dt_proj.weight.dims();
        let [_, n] = self.a_log.dims();
        let all = self.x_proj.forward(u);
        let dt = all.clone().narrow(K - 1, 0, rank);
        Selected {
            // Its bias is added where the softplus is taken.
            delta: linear(dt, self.dt_proj.weight.clone(), None),
            b: all.clone().narrow(K - 1, rank, n),
            c: all.narrow(K - 1, rank + n, n),
        }
    }

    fn a(&self) -> Tensor<2> {
        self.a_log.clone().exp().neg()
    }

    fn delta_bias(&self) -> Tensor<1> {
        let [d] = self.d.dims();
        let bias = self.dt_proj.bias.clone();
        bias.unwrap_or_else(|| Tensor::zeros([d], &self.d.device()))
    }

    /// [B, L, H] to the same, and the states after the last position.
    pub fn forward(&self, x: Tensor<3>) -> (Tensor<3>, MambaState) {
        let [u, z] = self.expand(x);
        let (weight, bias) = (self.conv1d.matrix(), self.conv1d.bias.clone());
        let ConvOutput { y: u, state: conv } = causal_conv1d(u, weight, bias, None, true);
        let Selected { delta, b, c } = self.select(u.clone());
        let a = self.a();
        let ScanOutput { y, last_state } = selective_scan(ScanInput {
            u,
            delta,
            a: a.clone(),
            b,
            c,
            d: self.d.clone(),
            z: Some(z),
            delta_bias: self.delta_bias(),
            initial_state: None,
        });
        let state = MambaState {
            conv,
            ssm: last_state,
            a: Some(Box::new(a)),
        };
        (self.out_proj.forward(y), state)
    }

    /// One more token [B, H].
    pub fn step(&self, x: Tensor<2>, state: MambaState) -> (Tensor<2>, MambaState) {
        let [u, z] = self.expand(x);
        let (weight, bias) = (self.conv1d.matrix(), self.conv1d.bias.clone());
        let (u, conv) = causal_conv1d_step(u, weight, bias, state.conv, true);
        let Selected { delta, b, c } = self.select(u.clone());
        let a = state.a.unwrap_or_else(|| Box::new(self.a()));
        let (y, ssm) = selective_scan_step(ScanStepInput {
            u,
            delta,
            a: (*a).clone(),
            b,
            c,
            d: self.d.clone(),
            z: Some(z),
            delta_bias: self.delta_bias(),
            state: state.ssm,
        });
        let a = Some(a);
        (self.out_proj.forward(y), MambaState { conv, ssm, a })
    }
}
