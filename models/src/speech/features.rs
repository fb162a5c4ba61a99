//! The feature encoder: convolutions from samples to frames, and their projection. Shapes: B batch, S samples, T frames,
//! C channels, H hidden size.

use burn::tensor::Tensor;
use caldera_shaders::conv1d;

use super::batch::WindowStatistics;
use super::config::SpeechConfig;
use crate::layers::{LayerNorm, Linear, Packed, parameters};

/// Epsilon of the feature encoder's norms (PyTorch's default; `config.json` has no key for it).
const NORM_EPS: f64 = 1e-5;
/// Bytes that one layer's output should not exceed outside of training: WebGPU binds 128 MiB, and caches hold less.
const CHUNK_BYTES: usize = 16 << 20;

/// A convolution with channels in front, as PyTorch has it.
#[derive(Debug, Clone)]
pub(crate) struct Convolution {
    /// [C', C, K]
    pub weight: Tensor<3>,
    /// [C']
    pub bias: Option<Tensor<1>>,
    /// [1, K C, C']
    pub packed: Packed<3>,
}
parameters!(Convolution { weight => "weight", bias => "bias", packed => "" });

/// A convolution of the feature encoder, and its norm: a group norm with one channel a group in the first layer of the
/// 'group' style, a layer norm over the channels in the 'layer' style.
#[derive(Debug, Clone)]
pub(crate) struct FeatureConvolution {
    pub conv: Convolution,
    pub norm: Option<LayerNorm>,
}
parameters!(FeatureConvolution { conv => "conv", norm => "layer_norm" });

/// All of them.
#[derive(Debug, Clone)]
pub(crate) struct FeatureEncoder {
    pub layers: Vec<FeatureConvolution>,
}
parameters!(FeatureEncoder { layers => "conv_layers" });

impl Convolution {
    /// [1, K C, C']: rows in the order of a window with channels last.
    fn matrix(&self) -> Tensor<3> {
        let [out, channels, kernel] = self.weight.dims();
        self.packed.get(|| {
            let last = self.weight.clone().permute([2, 1, 0]);
            last.reshape([1, kernel * channels, out])
        })
    }

    fn row(&self) -> Option<Tensor<2>> {
        self.bias.clone().map(Tensor::unsqueeze)
    }

    /// The convolution of samples and the group norm behind it as one: [B, K, C'] and [B, C'], for each clip its own.
    ///
    /// Over all windows w of a clip, filter f gives values with mean f · mean(w) and variance fᵀ cov(w) f, so that the
    /// norm is a factor and an offset of each filter, known before a single value is computed.
    fn normed(&self, norm: &LayerNorm, windows: &WindowStatistics) -> (Tensor<3>, Tensor<2>) {
        let [batch, kernel] = windows.mean.dims();
        let filters = self.matrix();
        let [_, _, out] = filters.dims();
        let spread = windows
            .factor
            .clone()
            .swap_dims(1, 2)
            .matmul(filters.clone().expand([batch, kernel, out]));
        let variance = spread.square().sum_dim(1);
        let scale = (variance + NORM_EPS).sqrt().recip() * norm.weight.clone().unsqueeze::<3>();
        let mean = windows.mean.clone().matmul(filters.clone().squeeze_dim(0));
        let offset =
            norm.bias.clone().unsqueeze::<2>() - mean * scale.clone().reshape([batch, out]);
        (filters * scale, offset)
    }
}

impl FeatureEncoder {
    /// [B, T, C] of samples [B, S]. `windows` are those of the clips as they lie in the batch, where the first layer has a
    /// group norm.
    ///
    /// Outside of a graph, in chunks of frames: the first layers have many more frames than the last.
    pub fn forward(
        &self,
        samples: Tensor<2>,
        windows: Option<&WindowStatistics>,
        config: &SpeechConfig,
    ) -> Tensor<3> {
        let tracked = self.layers.iter().any(|l| l.conv.weight.is_autodiff());
        let bytes = if tracked { usize::MAX } else { CHUNK_BYTES };
        self.in_chunks(samples, windows, config, bytes)
    }

    /// The same with layers of about `bytes` bytes at most (but a frame at least).
    pub fn in_chunks(
        &self,
        samples: Tensor<2>,
        windows: Option<&WindowStatistics>,
        config: &SpeechConfig,
        bytes: usize,
    ) -> Tensor<3> {
        let [batch, len] = samples.dims();
        let frames = config.frames(len);
        let first = |frames: usize| {
            let layer = config.conv_layers.first();
            let width = |layer: &super::FeatureLayer| {
                layer.dim * config.samples(frames).div_ceil(layer.stride)
            };
            layer.map_or(0, width) * batch * 4
        };
        // Bytes grow evenly with the frames: what a frame costs beyond the first says how many fit.
        let more = first(2).saturating_sub(first(1)).max(1);
        let chunk = (bytes / more).max(1);
        if frames <= chunk {
            return self.chunk(samples, windows, config);
        }
        let parts = (0..frames).step_by(chunk).map(|start| {
            let count = chunk.min(frames - start);
            let part = samples
                .clone()
                .narrow(1, start * config.hop(), config.samples(count));
            self.chunk(part, windows, config)
        });
        Tensor::cat(parts.collect(), 1)
    }

    fn chunk(
        &self,
        samples: Tensor<2>,
        windows: Option<&WindowStatistics>,
        config: &SpeechConfig,
    ) -> Tensor<3> {
        let mut x = samples.unsqueeze_dim::<3>(2);
        for (i, (layer, sizes)) in self.layers.iter().zip(&config.conv_layers).enumerate() {
            x = match (&layer.norm, windows) {
                (Some(norm), Some(windows)) if i == 0 => {
                    let (filters, offset) = layer.conv.normed(norm, windows);
                    conv1d(x, filters, Some(offset), sizes.stride)
                }
                (norm, _) => {
                    let y = conv1d(x, layer.conv.matrix(), layer.conv.row(), sizes.stride);
                    match norm {
                        Some(norm) => norm.forward(y, NORM_EPS),
                        None => y,
                    }
                }
            };
            x = config.feat_extract_activation.forward(x);
        }
        x
    }
}

/// From the convolutions' channels to hidden states.
#[derive(Debug, Clone)]
pub(crate) struct FeatureProjection {
    pub norm: LayerNorm,
    /// [H, C]
    pub projection: Linear,
}
parameters!(FeatureProjection { norm => "layer_norm", projection => "projection" });

impl FeatureProjection {
    /// [B, T, C] to [B, T, H].
    pub fn forward(&self, x: Tensor<3>, eps: f64) -> Tensor<3> {
        self.projection.forward(self.norm.forward(x, eps))
    }
}
