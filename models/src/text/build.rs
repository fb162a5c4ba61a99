//! One description of a model's parameters, filled from a checkpoint or from random numbers.

use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::config::{Family, Sharing, TextConfig};
use super::layers::{Attention, Embeddings, Encoder, Head, Layer, LayerNorm, Linear};
use super::parameters::dotted;
use crate::{Checkpoint, ModelError};

/// How a parameter starts when it is not loaded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Init {
    Zeros,
    Ones,
    /// Normal with this standard deviation.
    Normal(f64),
    /// The same, with one row of zeros.
    NormalWithZeroRow(f64, usize),
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

/// A stored tensor by its present name, or by the one that old BERT checkpoints (from TensorFlow) use for norms.
pub(crate) fn stored<'a>(
    checkpoint: &'a Checkpoint,
    name: &str,
) -> Option<&'a crate::StoredTensor> {
    let find = |name: &str| checkpoint.tensors.get(name);
    find(name).or_else(|| {
        let old = name
            .strip_suffix("LayerNorm.weight")
            .map(|n| format!("{n}LayerNorm.gamma"));
        let old = old.or_else(|| {
            name.strip_suffix("LayerNorm.bias")
                .map(|n| format!("{n}LayerNorm.beta"))
        });
        find(&old?)
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
            Init::Normal(std) => normals(self.seed, name, count, std),
            Init::NormalWithZeroRow(std, row) => {
                let mut values = normals(self.seed, name, count, std);
                let width = shape.last().copied().unwrap_or(1);
                if let Some(row) = values.get_mut(row * width..(row + 1) * width) {
                    row.fill(0.0);
                }
                values
            }
        })
    }
}

/// `count` normal numbers from the seed and a name, the same on every machine.
pub(crate) fn normals(seed: u64, name: &str, count: usize, std: f64) -> Vec<f32> {
    // FNV-1a; only has to differ between names and stay the same for ever.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ b as u64).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mut rng = StdRng::seed_from_u64(seed ^ hash);
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

/// Puts a model's parts together from a source.
pub(crate) struct Builder<'a> {
    pub config: &'a TextConfig,
    pub source: &'a mut dyn Source,
    /// The plain device, without autodiff.
    pub device: &'a Device,
}

impl Builder<'_> {
    fn tensor<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        init: Init,
    ) -> Result<Tensor<D>, ModelError> {
        let values = self.source.values(name, &shape, init)?;
        Ok(Tensor::from_data(
            TensorData::new(values, shape),
            self.device,
        ))
    }

    fn linear(&mut self, name: &str, out: usize, input: usize) -> Result<Linear, ModelError> {
        let init = Init::Normal(self.config.initializer_range);
        Ok(Linear {
            weight: self.tensor(&dotted(name, "weight"), [out, input], init)?,
            bias: self.tensor(&dotted(name, "bias"), [out], Init::Zeros)?,
        })
    }

    fn norm(&mut self, name: &str) -> Result<LayerNorm, ModelError> {
        let hidden = self.config.hidden_size;
        Ok(LayerNorm {
            weight: self.tensor(&dotted(name, "weight"), [hidden], Init::Ones)?,
            bias: self.tensor(&dotted(name, "bias"), [hidden], Init::Zeros)?,
        })
    }

    fn embeddings(&mut self, name: &str) -> Result<Embeddings, ModelError> {
        let c = self.config;
        let padded = Init::NormalWithZeroRow(c.initializer_range, c.pad_token_id as usize);
        let plain = Init::Normal(c.initializer_range);
        let positions = if c.family == Family::Roberta {
            padded
        } else {
            plain
        };
        let name = |part: &str| dotted(name, part);
        Ok(Embeddings {
            words: self.tensor(
                &name("word_embeddings.weight"),
                [c.vocab_size, c.hidden_size],
                padded,
            )?,
            positions: self.tensor(
                &name("position_embeddings.weight"),
                [c.max_position_embeddings, c.hidden_size],
                positions,
            )?,
            types: self.tensor(
                &name("token_type_embeddings.weight"),
                [c.type_vocab_size, c.hidden_size],
                plain,
            )?,
            norm: self.norm(&name("LayerNorm"))?,
        })
    }

    fn layer(&mut self, name: &str, index: usize) -> Result<Layer, ModelError> {
        let c = self.config;
        let (h, wide) = (c.hidden_size, c.intermediate_size);
        let name = |part: &str| dotted(name, part);
        let (mut proj_k, mut proj_v) = (None, None);
        if let Some(linformer) = c.linformer() {
            let shape = [c.max_position_embeddings, linformer.k];
            if linformer.sharing != Sharing::Layer || index == 0 {
                proj_k =
                    Some(self.tensor(&name("attention.self.proj_k"), shape, Init::Normal(1.0))?);
            }
            if linformer.sharing == Sharing::None {
                proj_v =
                    Some(self.tensor(&name("attention.self.proj_v"), shape, Init::Normal(1.0))?);
            }
        }
        Ok(Layer {
            attention: Attention {
                query: self.linear(&name("attention.self.query"), h, h)?,
                key: self.linear(&name("attention.self.key"), h, h)?,
                value: self.linear(&name("attention.self.value"), h, h)?,
                proj_k,
                proj_v,
                output: self.linear(&name("attention.output.dense"), h, h)?,
                norm: self.norm(&name("attention.output.LayerNorm"))?,
            },
            intermediate: self.linear(&name("intermediate.dense"), wide, h)?,
            output: self.linear(&name("output.dense"), h, wide)?,
            norm: self.norm(&name("output.LayerNorm"))?,
        })
    }

    /// The encoder under `prefix`, with or without a pooler.
    pub fn encoder(&mut self, prefix: &str, pooler: bool) -> Result<Encoder, ModelError> {
        let embeddings = self.embeddings(&dotted(prefix, "embeddings"))?;
        let layers = (0..self.config.num_hidden_layers)
            .map(|i| self.layer(&dotted(prefix, &format!("encoder.layer.{i}")), i))
            .collect::<Result<_, _>>()?;
        let pooler = if pooler {
            Some(self.pooler(prefix)?)
        } else {
            None
        };
        Ok(Encoder {
            embeddings,
            layers,
            pooler,
        })
    }

    /// BERT's pooler.
    pub fn pooler(&mut self, prefix: &str) -> Result<Linear, ModelError> {
        let h = self.config.hidden_size;
        self.linear(&dotted(prefix, "pooler.dense"), h, h)
    }

    /// The classifier.
    pub fn head(&mut self) -> Result<Head, ModelError> {
        let (h, labels) = (self.config.hidden_size, self.config.num_labels());
        Ok(match self.config.family {
            Family::Bert => Head::Bert(self.linear("classifier", labels, h)?),
            Family::Roberta => Head::Roberta {
                dense: self.linear("classifier.dense", h, h)?,
                out: self.linear("classifier.out_proj", labels, h)?,
            },
        })
    }
}
