//! A batch of clips, padded at the right, and what the first norm needs to know of them.

use burn::tensor::{Device, Tensor, TensorData};
use caldera_shaders::{Lengths, conv1d_frames};

use super::config::{FeatureNorm, SpeechConfig};

/// Waveforms on a device, padded with zeros at the right to the longest.
#[derive(Debug, Clone)]
pub struct SpeechBatch {
    /// [B, S]: samples at the model's rate, normalised as its feature extractor does.
    pub input_values: Tensor<2>,
    /// Samples of each clip.
    pub samples: Lengths,
    /// Frames of each clip, of T in all. A model that was trained without a mask takes `Lengths::full` here.
    pub frames: Lengths,
    /// [B, T, 1]: 1 where a frame is hidden from the model, in training. None where none is.
    pub masked: Option<Tensor<3>>,
    pub(super) windows: Option<WindowStatistics>,
}

/// Mean and covariance of the windows of the first convolution: from them follow mean and variance of whatever it gives.
#[derive(Debug, Clone)]
pub(super) struct WindowStatistics {
    /// [B, K]
    pub mean: Tensor<2>,
    /// [B, K, K]: lower triangular, covariance = factor factorᵀ.
    pub factor: Tensor<3>,
}

impl SpeechBatch {
    /// Pads clips with zeros to the longest (to one frame at least) and puts them on `device`.
    ///
    /// Clips are not checked here: see [`SpeechModel::validate`](super::SpeechModel::validate).
    pub fn new(clips: &[&[f32]], config: &SpeechConfig, device: &Device) -> Self {
        let longest = clips.iter().map(|clip| clip.len()).max().unwrap_or(0);
        let longest = longest.max(config.least_samples());
        let mut flat = Vec::with_capacity(clips.len() * longest);
        for clip in clips {
            let end = flat.len() + longest;
            flat.extend_from_slice(clip);
            flat.resize(end, 0.0);
        }
        let windows = match (config.feat_extract_norm, config.conv_layers.first()) {
            (FeatureNorm::Group, Some(first)) => {
                let sizes = [first.kernel, first.stride];
                Some(WindowStatistics::new(&flat, longest, sizes, device))
            }
            _ => None,
        };
        let count = |of: &dyn Fn(usize) -> usize| {
            Lengths::new(clips.iter().map(|clip| of(clip.len()) as u32).collect())
        };
        Self {
            input_values: Tensor::from_data(TensorData::new(flat, [clips.len(), longest]), device),
            samples: count(&|samples| samples),
            frames: count(&|samples| config.frames(samples)),
            masked: None,
            windows,
        }
    }

    /// Hides frames: `masked` has B rows of T values, T the frames of the longest clip.
    ///
    /// # Panics
    /// When there are not B T values.
    pub fn with_masked(mut self, masked: &[bool]) -> Self {
        let batch = self.batch_size();
        assert!(
            batch > 0 && masked.len().is_multiple_of(batch),
            "with_masked: {} values for {batch} clips",
            masked.len()
        );
        let values: Vec<f32> = masked.iter().map(|&on| f32::from(on)).collect();
        let shape = [batch, masked.len() / batch, 1];
        let device = self.input_values.device();
        self.masked = masked
            .contains(&true)
            .then(|| Tensor::from_data(TensorData::new(values, shape), &device));
        self
    }

    /// Clips.
    pub fn batch_size(&self) -> usize {
        self.input_values.dims()[0]
    }
}

impl WindowStatistics {
    /// Of rows of `len` samples, padding included, as the norm sees it. In f64: speech has little at high frequencies,
    /// and a filter that passes only those leaves a small difference of large sums.
    fn new(flat: &[f32], len: usize, [kernel, stride]: [usize; 2], device: &Device) -> Self {
        let batch = flat.len() / len.max(1);
        let frames = conv1d_frames(len, kernel, stride).max(1) as f64;
        let (mut means, mut factors) = (Vec::new(), Vec::new());
        for row in flat.chunks(len.max(1)) {
            let windows = || row.windows(kernel).step_by(stride);
            let mut mean = vec![0f64; kernel];
            for window in windows() {
                mean.iter_mut()
                    .zip(window)
                    .for_each(|(sum, &x)| *sum += f64::from(x));
            }
            mean.iter_mut().for_each(|sum| *sum /= frames);
            let mut covariance = vec![0f64; kernel * kernel];
            let mut centred = vec![0f64; kernel];
            for window in windows() {
                for (i, &x) in window.iter().enumerate() {
                    centred[i] = f64::from(x) - mean[i];
                    for j in 0..=i {
                        covariance[i * kernel + j] += centred[i] * centred[j];
                    }
                }
            }
            covariance.iter_mut().for_each(|sum| *sum /= frames);
            factors.extend(cholesky(covariance, kernel).iter().map(|&x| x as f32));
            means.extend(mean.iter().map(|&x| x as f32));
        }
        let mean = TensorData::new(means, [batch, kernel]);
        let factor = TensorData::new(factors, [batch, kernel, kernel]);
        Self {
            mean: Tensor::from_data(mean, device),
            factor: Tensor::from_data(factor, device),
        }
    }
}

/// Lower triangular L with L Lᵀ = `matrix` (its lower half), size × size; columns of nothing where it is singular.
fn cholesky(mut matrix: Vec<f64>, size: usize) -> Vec<f64> {
    let largest = (0..size).map(|i| matrix[i * size + i]).fold(0.0, f64::max);
    for j in 0..size {
        for i in j..size {
            let inner: f64 = (0..j)
                .map(|k| matrix[i * size + k] * matrix[j * size + k])
                .sum();
            matrix[i * size + j] -= inner;
        }
        let pivot = matrix[j * size + j];
        // What is left of a silent or constant clip is rounding.
        let root = match pivot > largest * 1e-14 {
            true => pivot.sqrt(),
            false => 0.0,
        };
        for i in j..size {
            let entry = &mut matrix[i * size + j];
            *entry = if root > 0.0 { *entry / root } else { 0.0 };
        }
    }
    for i in 0..size {
        matrix[i * size + i + 1..(i + 1) * size].fill(0.0);
    }
    matrix
}
