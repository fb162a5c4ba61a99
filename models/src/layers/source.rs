//! Where parameters come from: a checkpoint, or random numbers.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::checkpoint::DeviceTensors;
use crate::{ModelError, StoredDtype, StoredTensor};

/// How a parameter starts when it is not loaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Init {
    Zeros,
    Ones,
    Constant(f64),
    /// Normal with this standard deviation.
    Normal(f64),
    /// The same, with one row of zeros.
    NormalWithZeroRow(f64, usize),
    /// Evenly between minus this and this.
    Uniform(f64),
    /// Every row ln 1, ln 2, ... (Mamba's `A_log`).
    LogOfCount,
    /// The logarithm of numbers evenly between these two (Mamba-2's `A_log`).
    LogOfUniform(f64, f64),
    /// softplus⁻¹ of numbers whose logarithm lies evenly between those of these two (Mamba's step sizes).
    InverseSoftplus(f64, f64),
}

/// Values of a parameter.
pub(crate) enum Values {
    /// Row by row.
    Host(Vec<f32>),
    /// The same on the device, in blocks of whole rows.
    Device(Vec<Tensor<1>>),
}

/// Where parameters come from.
pub(crate) trait Source {
    /// Values of the parameter `name`.
    fn values(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Values, ModelError>;
}

/// The tensors of a checkpoint: in memory, or already on the device.
pub(crate) trait Tensors {
    /// Type and shape of the tensor that is stored under this very name.
    fn describe(&self, name: &str) -> Option<(StoredDtype, &[usize])>;
    /// Its values; None where it has none that are floats.
    fn floats(&self, name: &str) -> Option<Values>;
}

impl Tensors for BTreeMap<String, StoredTensor> {
    fn describe(&self, name: &str) -> Option<(StoredDtype, &[usize])> {
        let tensor = self.get(name)?;
        Some((tensor.dtype, &tensor.shape))
    }
    fn floats(&self, name: &str) -> Option<Values> {
        Some(Values::Host(self.get(name)?.to_f32()?))
    }
}

impl Tensors for DeviceTensors {
    fn describe(&self, name: &str) -> Option<(StoredDtype, &[usize])> {
        let tensor = self.get(name)?;
        Some((tensor.dtype, &tensor.shape))
    }
    fn floats(&self, name: &str) -> Option<Values> {
        let tensor = self.get(name)?;
        let floats = tensor.dtype.is_float();
        floats.then(|| Values::Device(tensor.blocks.clone()))
    }
}

/// Parameters of a checkpoint.
pub(crate) struct Stored<'a> {
    pub tensors: &'a dyn Tensors,
    /// Their file, for messages.
    pub file: String,
}

impl Source for Stored<'_> {
    fn values(&mut self, name: &str, shape: &[usize], _: Init) -> Result<Values, ModelError> {
        let file = self.file.clone();
        let found = stored_name(self.tensors, name);
        let described = found
            .as_deref()
            .and_then(|name| self.tensors.describe(name));
        let (Some(stored), Some((dtype, found))) = (&found, described) else {
            return Err(ModelError::MissingTensor {
                file,
                tensor: name.to_string(),
                expected: shape.to_vec(),
                advice: "Use the config.json that was saved with these weights, or download the whole model again"
                    .to_string(),
            });
        };
        if found != shape {
            return Err(ModelError::WrongShape {
                file,
                tensor: name.to_string(),
                expected: shape.to_vec(),
                found: found.to_vec(),
            });
        }
        let values = self.tensors.floats(stored);
        values.ok_or_else(|| ModelError::BadTensor {
            file,
            tensor: name.to_string(),
            detail: format!("expected floats, found {dtype:?}"),
            advice: "Save the model as F32, F16 or BF16".to_string(),
        })
    }
}

/// Present endings of names, and what older files have in their place: norms of BERT checkpoints from TensorFlow, weight
/// norms of PyTorch before 2.0.
const OLD_NAMES: [(&str, &str); 4] = [
    ("LayerNorm.weight", "LayerNorm.gamma"),
    ("LayerNorm.bias", "LayerNorm.beta"),
    ("parametrizations.weight.original0", "weight_g"),
    ("parametrizations.weight.original1", "weight_v"),
];

/// The name that a tensor is stored under: the present one, or an old one.
pub(crate) fn stored_name(tensors: &dyn Tensors, name: &str) -> Option<String> {
    let mut rename = |(present, old): (&str, &str)| {
        let old = format!("{}{old}", name.strip_suffix(present)?);
        tensors.describe(&old).is_some().then_some(old)
    };
    match tensors.describe(name) {
        Some(_) => Some(name.to_string()),
        None => OLD_NAMES.into_iter().find_map(&mut rename),
    }
}

/// Random parameters: each depends on the seed and on its own name only, so that two models with one seed
/// agree wherever their names do.
pub(crate) struct Random {
    pub seed: u64,
}

impl Source for Random {
    fn values(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Values, ModelError> {
        let count = shape.iter().product();
        Ok(Values::Host(match init {
            Init::Zeros => vec![0.0; count],
            Init::Ones => vec![1.0; count],
            Init::Constant(value) => vec![value as f32; count],
            Init::Normal(std) => normals(self.seed, name, count, std),
            Init::NormalWithZeroRow(std, row) => {
                let mut values = normals(self.seed, name, count, std);
                let width = shape.last().copied().unwrap_or(1);
                if let Some(row) = values.get_mut(row * width..(row + 1) * width) {
                    row.fill(0.0);
                }
                values
            }
            Init::Uniform(bound) => {
                let uniform = uniforms(self.seed, name, count);
                let value = |u: f64| (bound * (2.0 * u - 1.0)) as f32;
                uniform.map(value).collect()
            }
            Init::LogOfCount => {
                let width = shape.last().copied().unwrap_or(1).max(1);
                (0..count)
                    .map(|i| ((i % width + 1) as f64).ln() as f32)
                    .collect()
            }
            Init::LogOfUniform(least, most) => {
                let uniform = uniforms(self.seed, name, count);
                let value = |u: f64| (least + (most - least) * u).ln() as f32;
                uniform.map(value).collect()
            }
            Init::InverseSoftplus(least, most) => {
                let uniform = uniforms(self.seed, name, count);
                let step = |u: f64| least * (most / least).powf(u);
                // softplus⁻¹(x) = x + ln(1 - e⁻ˣ).
                let value = |u: f64| (step(u) + (-(-step(u)).exp_m1()).ln()) as f32;
                uniform.map(value).collect()
            }
        }))
    }
}

/// Random numbers of a parameter, the same on every machine.
fn random(seed: u64, name: &str) -> StdRng {
    // FNV-1a; only has to differ between names and stay the same for ever.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ b as u64).wrapping_mul(0x0000_0100_0000_01b3)
    });
    StdRng::seed_from_u64(seed ^ hash)
}

/// `count` numbers from 0 to below 1 from the seed and a name.
fn uniforms(seed: u64, name: &str, count: usize) -> impl Iterator<Item = f64> {
    let mut rng = random(seed, name);
    (0..count).map(move |_| rng.random())
}

/// `count` normal numbers from the seed and a name, the same on every machine.
pub(crate) fn normals(seed: u64, name: &str, count: usize, std: f64) -> Vec<f32> {
    let mut rng = random(seed, name);
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        // Box-Muller, two at a time; 1 - u keeps the logarithm finite.
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        let radius = std * (-2.0 * (1.0 - u).ln()).sqrt();
        let angle = std::f64::consts::TAU * v;
        values.push((radius * angle.cos()) as f32);
        values.push((radius * angle.sin()) as f32);
    }
    values.truncate(count);
    values
}
