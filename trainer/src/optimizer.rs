//! AdamW over parameters by name, gradients that add up over batches, clipping by the norm of all of them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use caldera_models::ParameterMut;
use caldera_shaders::adamw::{AdamWStep, adamw_step};
use caldera_shaders::{is_gpu, sum_of_squares};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::config::{Decay, OptimizerConfig};
use crate::model::Model;

/// Gradients by parameter name, outside of any graph, each in a row.
#[derive(Default)]
pub struct GradientSum {
    sums: BTreeMap<String, Tensor<1>>,
}

impl GradientSum {
    /// Adds the gradients of `model`'s parameters. Those that the loss does not depend on are left out.
    pub fn add(&mut self, model: &impl Model, gradients: &mut Gradients) {
        self.add_share(model, gradients, 1.0);
    }

    /// The same, multiplied with `share`: a batch's part of a step of several batches.
    pub fn add_share(&mut self, model: &impl Model, gradients: &mut Gradients, share: f64) {
        model.visit(&mut |name, parameter| {
            let Some(gradient) = parameter.grad_remove(gradients) else {
                return;
            };
            let gradient = if share == 1.0 {
                gradient
            } else {
                gradient.mul_scalar(share)
            };
            let sum = match self.sums.remove(name) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            self.sums.insert(name.to_string(), sum);
        });
    }

    /// Norm of all gradients together, \[1\], not read; None where there are none.
    pub fn norm(&self) -> Option<Tensor<1>> {
        self.sums
            .values()
            .map(|gradient| sum_of_squares(gradient.clone()))
            .reduce(|a, b| a + b)
            .map(Tensor::sqrt)
    }

    /// Scales all gradients down to a norm of at most `most` (0: not at all).
    ///
    /// On the CPU the norm is read, and nothing is touched where it is small enough; on a GPU the factor stays there,
    /// so that nothing waits. Returns the norm before clipping.
    pub fn clip(&mut self, most: f64) -> Option<Tensor<1>> {
        let norm = self.norm()?;
        if most > 0.0 {
            if is_gpu(&norm.device()) {
                let factor = (norm.clone() + 1e-6)
                    .recip()
                    .mul_scalar(most)
                    .clamp_max(1.0);
                self.map(|gradient| gradient * factor.clone());
            } else {
                let found: f64 = f64::from(norm.clone().into_scalar::<f32>());
                if found > most {
                    let factor = most / (found + 1e-6);
                    self.map(|gradient| gradient.mul_scalar(factor));
                }
            }
        }
        Some(norm)
    }

    fn map(&mut self, change: impl Fn(Tensor<1>) -> Tensor<1>) {
        let sums = std::mem::take(&mut self.sums);
        self.sums = sums
            .into_iter()
            .map(|(name, gradient)| (name, change(gradient)))
            .collect();
    }
}

/// Mean of gradients and of their squares, each in a row.
struct Moments {
    mean: Tensor<1>,
    square: Tensor<1>,
}

/// AdamW: no decay on biases and LayerNorm, an own rate for the mixer's projections.
pub struct AdamW {
    config: OptimizerConfig,
    moments: BTreeMap<String, Moments>,
    steps: u64,
}

impl AdamW {
    /// Without any step taken.
    pub fn new(config: &OptimizerConfig) -> Self {
        Self {
            config: config.clone(),
            moments: BTreeMap::new(),
            steps: 0,
        }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Changes the parameters of `model` that have a gradient; the others stay as they are, decay included.
    pub fn step(&mut self, model: &mut impl Model, gradients: GradientSum, learning_rate: f64) {
        self.steps += 1;
        let mut sums = gradients.sums;
        let (config, moments, step) = (&self.config, &mut self.moments, self.steps);
        model.visit_mut(&mut |name, mut parameter| {
            let Some(gradient) = sums.remove(name) else {
                return;
            };
            let held = moments.remove(name).unwrap_or_else(|| Moments {
                mean: gradient.zeros_like(),
                square: gradient.zeros_like(),
            });
            let rate = if is_mixer(name) {
                learning_rate * config.projection_rate
            } else {
                learning_rate
            };
            let numbers = AdamWStep {
                lr: rate,
                beta1: config.beta1,
                beta2: config.beta2,
                eps: config.epsilon,
                weight_decay: if is_decayed(name, config.decay) {
                    config.weight_decay
                } else {
                    0.0
                },
                step,
            };
            let shape = parameter.as_ref().shape();
            let values = take_flat(&mut parameter);
            let (values, mean, square) =
                adamw_step(values, gradient, held.mean, held.square, numbers);
            put_flat(&mut parameter, values, &shape);
            moments.insert(name.to_string(), Moments { mean, square });
        });
    }

    /// Writes the moments by parameter name as `mean.NAME` and `square.NAME`, in f32.
    ///
    /// # Errors
    /// The file cannot be written, or the device cannot be read.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut stored: Vec<(String, usize, Vec<u8>)> = Vec::with_capacity(2 * self.moments.len());
        for (name, moments) in &self.moments {
            for (kind, tensor) in [("mean", &moments.mean), ("square", &moments.square)] {
                let values = tensor
                    .clone()
                    .try_into_data()
                    .ok()
                    .and_then(|data| data.try_to_vec::<f32>().ok())
                    .with_context(|| format!("{kind}.{name}: cannot be read from the device"))?;
                let bytes = values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect();
                stored.push((format!("{kind}.{name}"), values.len(), bytes));
            }
        }
        let views = stored.iter().map(|(name, length, bytes)| {
            let view =
                TensorView::new(Dtype::F32, vec![*length], bytes).expect("four bytes a value");
            (name.as_str(), view)
        });
        let steps = [("steps".to_string(), self.steps.to_string())].into();
        safetensors::serialize_to_file(views, Some(steps), path)
            .with_context(|| format!("{}: cannot be written", path.display()))
    }

    /// Reads what [`AdamW::save`] wrote.
    ///
    /// # Errors
    /// The file is missing or damaged, or holds no moments for `model`.
    pub fn load(
        config: &OptimizerConfig,
        path: &Path,
        model: &impl Model,
        device: &Device,
    ) -> Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
        let damaged = || {
            format!(
                "{}: damaged optimizer state; start the run again without resuming",
                path.display()
            )
        };
        let (_, metadata) = SafeTensors::read_metadata(&bytes).with_context(damaged)?;
        let steps = metadata
            .metadata()
            .as_ref()
            .and_then(|map| map.get("steps")?.parse().ok())
            .with_context(damaged)?;
        let file = SafeTensors::deserialize(&bytes).with_context(damaged)?;
        let mut sizes = BTreeMap::new();
        model.visit(&mut |name, parameter| {
            sizes.insert(name.to_string(), parameter.num_elements());
        });
        let mut moments = BTreeMap::new();
        for stored in file.names() {
            let Some(name) = stored.strip_prefix("mean.") else {
                continue;
            };
            let expected = sizes.get(name).copied();
            let read = |kind: &str| -> Result<Tensor<1>> {
                let view = file
                    .tensor(&format!("{kind}.{name}"))
                    .with_context(damaged)?;
                let found = view.shape().iter().product::<usize>();
                if view.dtype() != Dtype::F32 || Some(found) != expected {
                    bail!(
                        "{}: tensor `{kind}.{name}`: expected {expected:?} f32 values, found {found}; the state belongs to another model",
                        path.display()
                    );
                }
                let values: Vec<f32> = view
                    .data()
                    .chunks_exact(4)
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect();
                Ok(Tensor::from_data(TensorData::new(values, [found]), device))
            };
            moments.insert(
                name.to_string(),
                Moments {
                    mean: read("mean")?,
                    square: read("square")?,
                },
            );
        }
        Ok(Self {
            config: config.clone(),
            moments,
            steps,
        })
    }
}

/// Weights decay; biases, norms and the state matrices of Mamba (A_log, D; as in its authors' code) do not.
fn is_decayed(name: &str, decay: Decay) -> bool {
    let weight = !(name.ends_with(".bias")
        || name.ends_with(".A_log")
        || name.ends_with(".D")
        || name.ends_with(".dt_bias")
        || name.contains("LayerNorm")
        || name.contains("layernorm")
        || name.contains("layer_norm")
        || name.ends_with("norm.weight"));
    weight && (decay == Decay::Weights || is_mixer(name))
}

/// Parameters that the mixer brought.
fn is_mixer(name: &str) -> bool {
    name.ends_with(".proj_k") || name.ends_with(".proj_v") || name.contains("mamba.")
}

/// Takes the values out, so that the optimizer holds their only handle and may change them in place.
fn take_flat(parameter: &mut ParameterMut<'_>) -> Tensor<1> {
    fn take<const D: usize>(slot: &mut Tensor<D>) -> Tensor<1> {
        let hole = Tensor::zeros([1; D], &slot.device());
        std::mem::replace(slot, hole)
            .without_autodiff()
            .reshape([-1])
    }
    match parameter {
        ParameterMut::One(slot) => take(slot),
        ParameterMut::Two(slot) => take(slot),
        ParameterMut::Three(slot) => take(slot),
    }
}

fn put_flat(parameter: &mut ParameterMut<'_>, values: Tensor<1>, shape: &[usize]) {
    fn put<const D: usize>(slot: &mut Tensor<D>, values: Tensor<1>, shape: &[usize]) {
        let shape: [usize; D] = shape.try_into().expect("the shape that the parameter had");
        *slot = values.reshape(shape).autodiff().require_grad();
    }
    match parameter {
        ParameterMut::One(slot) => put(slot, values, shape),
        ParameterMut::Two(slot) => put(slot, values, shape),
        ParameterMut::Three(slot) => put(slot, values, shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn biases_norms_and_state_matrices_do_not_decay() {
        let layer = "gpt_neox.layers.0.";
        for name in [
            "attention.dense.bias",
            "input_layernorm.weight",
            "attention.mamba.A_log",
            "attention.mamba.D",
        ] {
            assert!(
                !is_decayed(&format!("{layer}{name}"), Decay::Weights),
                "{name}"
            );
        }
        assert!(!is_decayed(
            "gpt_neox.final_layer_norm.weight",
            Decay::Weights
        ));
        assert!(is_decayed("gpt_neox.embed_in.weight", Decay::Weights));
        assert!(!is_decayed("gpt_neox.embed_in.weight", Decay::Mixer));
        let own = format!("{layer}attention.mamba.in_proj.weight");
        assert!(is_decayed(&own, Decay::Mixer) && is_mixer(&own));
        assert!(is_mixer("bert.encoder.layer.0.attention.self.proj_k"));
    }
}
