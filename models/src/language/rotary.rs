//! Rotary positions (Su et al. 2021, arXiv 2104.09864) on the first dimensions of a head, as GPT-NeoX has them.

use burn::tensor::{Device, Tensor, TensorData};

use super::config::GptNeoXConfig;

/// Cosines and sines of positions `first .. first + length`.
pub(crate) struct Rotary {
    /// [1, length, 1, R], R the dimensions that are rotated; None where there are none.
    tables: Option<(Tensor<4>, Tensor<4>)>,
}

impl Rotary {
    /// For heads of width `head_size`, on the device of the parameters.
    pub fn new(
        config: &GptNeoXConfig,
        head_size: usize,
        first: usize,
        length: usize,
        device: &Device,
    ) -> Self {
        let dims = (head_size as f64 * config.rotary_pct) as usize;
        let half = dims / 2;
        if half == 0 {
            return Self::none();
        }
        // In f64: an angle at a late position has lost its digits in f32.
        let angles = (first..first + length).flat_map(|position| {
            (0..dims).map(move |i| {
                let power = (i % half) as f64 * 2.0 / dims as f64;
                position as f64 / config.rotary_emb_base.powf(power)
            })
        });
        let angles: Vec<f64> = angles.collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|&angle| f(angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, [1, length, 1, dims]), device)
        };
        Self {
            tables: Some((table(f64::cos), table(f64::sin))),
        }
    }

    /// No rotation.
    pub fn none() -> Self {
        Self { tables: None }
    }

    /// Queries or keys [B, L, H, P], rotated: (a, b) of the two halves becomes (a cos - b sin, b cos + a sin).
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let Some((cos, sin)) = &self.tables else {
            return x;
        };
        let [_, _, _, width] = x.dims();
        let [_, _, _, dims] = cos.dims();
        let half = dims / 2;
        let turned = x.clone().narrow(3, 0, dims);
        let across = Tensor::cat(
            vec![
                x.clone().narrow(3, half, half).neg(),
                x.clone().narrow(3, 0, half),
            ],
            3,
        );
        let turned = turned * cos.clone() + across * sin.clone();
        if dims == width {
            return turned;
        }
        Tensor::cat(vec![turned, x.narrow(3, dims, width - dims)], 3)
    }
}
