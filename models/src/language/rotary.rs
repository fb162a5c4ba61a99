//! Rotary positions (Su et al. 2021, arXiv 2104.09864) on the first dimensions of a head, as GPT-NeoX has them.

use burn::tensor::{Device, Tensor, TensorData};
use caldera_shaders::rotary;

use super::config::GptNeoXConfig;

/// Cosines and sines of positions `first .. first + length`.
pub(crate) struct Rotary {
    /// [length, R / 2] each, R the dimensions that are rotated; None where there are none.
    tables: Option<[Tensor<2>; 2]>,
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
            (0..half).map(move |i| {
                let power = i as f64 * 2.0 / dims as f64;
                position as f64 / config.rotary_emb_base.powf(power)
            })
        });
        let angles: Vec<f64> = angles.collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|&angle| f(angle) as f32).collect();
            Tensor::from_data(TensorData::new(values, [length, half]), device)
        };
        Self {
            tables: Some([table(f64::cos), table(f64::sin)]),
        }
    }

    /// No rotation.
    pub fn none() -> Self {
        Self { tables: None }
    }

    /// Query, key and value [B, L, N, P] of a packed projection [B, L, N, 3 P], the first two rotated.
    pub fn take_apart(&self, packed: Tensor<4>) -> [Tensor<4>; 3] {
        let width = packed.dims()[3] / 3;
        match &self.tables {
            Some([cos, sin]) => rotary(packed, cos.clone(), sin.clone()),
            None => [0, 1, 2].map(|part| packed.clone().narrow(3, part * width, width)),
        }
    }
}
