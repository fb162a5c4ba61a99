//! Where parameters come from: a checkpoint, or random numbers.

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{Checkpoint, ModelError};

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

/// Where parameters come from.
pub(crate) trait Source {
    /// Row-major values of the parameter `name`.
    fn values(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Vec<f32>, ModelError>;
}

/// Parameters of a checkpoint.
pub(crate) struct Stored<'a>(pub &'a Checkpoint);

impl Source for Stored<'_> {
    fn values(&mut self, name: &str, shape: &[usize], _: Init) -> Result<Vec<f32>, ModelError> {
        let file = self.0.weights_file();
        let Some(tensor) = stored(self.0, name) else {
            return Err(ModelError::MissingTensor {
                file,
                tensor: name.to_string(),
                expected: shape.to_vec(),
                advice: "Use the config.json that was saved with these weights, or download the whole model again"
                    .to_string(),
            });
        };
        if tensor.shape != shape {
            return Err(ModelError::WrongShape {
                file,
                tensor: name.to_string(),
                expected: shape.to_vec(),
                found: tensor.shape.clone(),
            });
        }
        tensor.to_f32().ok_or_else(|| ModelError::BadTensor {
            file,
            tensor: name.to_string(),
            detail: format!("expected floats, found {:?}", tensor.dtype),
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

/// A stored tensor by its present name, or by an old one.
pub(crate) fn stored<'a>(
    checkpoint: &'a Checkpoint,
    name: &str,
) -> Option<&'a crate::StoredTensor> {
    let find = |name: &str| checkpoint.tensors.get(name);
    find(name).or_else(|| {
        let rename = |(present, old)| Some(format!("{}{old}", name.strip_suffix(present)?));
        find(&OLD_NAMES.into_iter().find_map(rename)?)
    })
}

/// Random parameters: each depends on the seed and on its own name only, so that two models with one seed
/// agree wherever their names do.
pub(crate) struct Random {
    pub seed: u64,
}

impl Source for Random {
    fn values(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Vec<f32>, ModelError> {
        let count = shape.iter().product();
        Ok(match init {
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
        })
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
