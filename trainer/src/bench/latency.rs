//! Latency and peak memory of a transformer and its student over sequence length.

use super::memory::peak_of;
use super::statistics::{crossover, log_log_slope, quantile};
use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::Device;
use caldera_models::{ForwardOptions, TextBatch, TextModel};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use std::time::Instant;

/// A kind of model whose forward pass is timed.
pub trait Subject: Sized {
    /// What it takes.
    type Batch;
    /// What lengths are counted in.
    const UNIT: &'static str;
    /// Lengths from here up count for the log-log slopes: below, costs that do not depend on length weigh too much.
    const SLOPE_FROM: usize;

    /// The longest input.
    fn longest(&self) -> usize;
    /// Random inputs of full length that both models can take.
    ///
    /// # Errors
    /// A length that does not fit.
    fn batch(
        models: [&Self; 2],
        plan: &Plan,
        length: usize,
        device: &Device,
    ) -> Result<Self::Batch>;
    /// Milliseconds of one forward pass, answer read back.
    ///
    /// # Errors
    /// The device fails.
    fn run(&self, batch: &Self::Batch) -> Result<f64>;
}

impl Subject for TextModel {
    type Batch = TextBatch;
    const UNIT: &'static str = "tokens";
    const SLOPE_FROM: usize = 512;

    fn longest(&self) -> usize {
        self.config.max_length()
    }

    fn batch(models: [&Self; 2], plan: &Plan, length: usize, device: &Device) -> Result<TextBatch> {
        random_batch(&models, plan.batch, length, plan.seed, device)
    }

    fn run(&self, batch: &TextBatch) -> Result<f64> {
        milliseconds(self, batch)
    }
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Lengths, in the models' unit.
    pub lengths: Vec<usize>,
    /// Timed runs of each model at each length.
    pub runs: usize,
    /// Inputs in a batch.
    pub batch: usize,
    /// Seed of the inputs.
    pub seed: u64,
}

impl Plan {
    /// Whether there is something to measure that both models can take.
    ///
    /// # Errors
    /// Names the length that does not fit, or what is zero.
    pub fn validate<M: Subject>(&self, transformer: &M, linear: &M) -> Result<()> {
        let longest = transformer.longest().min(linear.longest());
        if let Some(length) = self
            .lengths
            .iter()
            .find(|&&length| length == 0 || length > longest)
        {
            bail!(
                "length {length}: these models take 1 to {longest} {}",
                M::UNIT
            );
        }
        if self.lengths.is_empty() || self.runs == 0 || self.batch == 0 {
            bail!(
                "nothing to measure: expected at least one length, one run and one input a batch"
            );
        }
        Ok(())
    }
}

/// One model at one length.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Of each input, in the models' unit.
    pub length: usize,
    /// `transformer` or `linear`.
    pub model: &'static str,
    /// Half of the runs were faster.
    pub median_ms: f64,
    /// A tenth of the runs was faster.
    pub p10_ms: f64,
    /// Nine tenths of the runs were faster.
    pub p90_ms: f64,
    /// The first run at this length, compilation of its kernels included; not among the runs.
    pub first_ms: f64,
    /// Timed runs.
    pub runs: usize,
    /// Most bytes held beyond the weights; none where the device does not tell.
    pub peak_bytes: Option<usize>,
}

/// Log-log slopes, from the length on that counts for them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Slopes {
    /// Time of the transformer.
    pub transformer_time: Option<f64>,
    /// Time of the linear model.
    pub linear_time: Option<f64>,
    /// Peak bytes of the transformer.
    pub transformer_peak: Option<f64>,
    /// Peak bytes of the linear model.
    pub linear_peak: Option<f64>,
}

/// A finished sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sweep {
    /// What lengths are counted in: `tokens` or `seconds`.
    pub unit: &'static str,
    /// The length from which points count for the slopes.
    pub slope_from: usize,
    /// Every point, by length, transformer first.
    pub points: Vec<Point>,
    /// How time and memory grow.
    pub slopes: Slopes,
    /// Length from which the linear model is no slower.
    pub crossover_length: Option<f64>,
}

/// Runs the sweep; `done` hears of each length's two points.
///
/// # Errors
/// When a length does not fit a model, or a device fails.
pub fn sweep<M: Subject>(
    transformer: &M,
    linear: &M,
    plan: &Plan,
    device: &Device,
    mut done: impl FnMut(&[Point]),
) -> Result<Sweep> {
    plan.validate(transformer, linear)?;
    let models = [("transformer", transformer), ("linear", linear)];
    let mut points = Vec::new();
    for &length in &plan.lengths {
        let batch = M::batch([transformer, linear], plan, length, device)?;
        let mut first = [0.0; 2];
        let mut peak = [None; 2];
        for (slot, (_, model)) in models.iter().enumerate() {
            first[slot] = model.run(&batch)?;
            let (ran, bytes) = peak_of(device, || model.run(&batch));
            ran?;
            peak[slot] = bytes;
        }
        let mut times = [Vec::with_capacity(plan.runs), Vec::with_capacity(plan.runs)];
        for run in 0..plan.runs {
            // Turn and turn about, so that a machine that slows down slows both.
            for slot in [run % 2, 1 - run % 2] {
                times[slot].push(models[slot].1.run(&batch)?);
            }
        }
        let start = points.len();
        for (slot, (name, _)) in models.iter().enumerate() {
            let at = |q| quantile(&times[slot], q);
            points.push(Point {
                length,
                model: name,
                median_ms: at(0.5),
                p10_ms: at(0.1),
                p90_ms: at(0.9),
                first_ms: first[slot],
                runs: plan.runs,
                peak_bytes: peak[slot],
            });
        }
        done(&points[start..]);
    }
    Ok(Sweep {
        unit: M::UNIT,
        slope_from: M::SLOPE_FROM,
        slopes: slopes(&points, M::SLOPE_FROM),
        crossover_length: cross(&points),
        points,
    })
}

fn curve(points: &[Point], model: &str, value: impl Fn(&Point) -> Option<f64>) -> Vec<(f64, f64)> {
    points
        .iter()
        .filter(|p| p.model == model)
        .filter_map(|p| Some((p.length as f64, value(p)?)))
        .collect()
}

fn slopes(points: &[Point], from: usize) -> Slopes {
    let time = |model| log_log_slope(&curve(points, model, |p| Some(p.median_ms)), from as f64);
    let peak = |model| {
        log_log_slope(
            &curve(points, model, |p| p.peak_bytes.map(|b| b as f64)),
            from as f64,
        )
    };
    Slopes {
        transformer_time: time("transformer"),
        linear_time: time("linear"),
        transformer_peak: peak("transformer"),
        linear_peak: peak("linear"),
    }
}

fn cross(points: &[Point]) -> Option<f64> {
    let mut curves =
        ["transformer", "linear"].map(|model| curve(points, model, |p| Some(p.median_ms)));
    curves
        .iter_mut()
        .for_each(|c| c.sort_by(|a, b| a.0.total_cmp(&b.0)));
    crossover(&curves[0], &curves[1])
}

/// Random ids that every one of `models` knows, all rows of full length.
pub(super) fn random_batch(
    models: &[&TextModel],
    rows: usize,
    length: usize,
    seed: u64,
    device: &Device,
) -> Result<TextBatch> {
    let vocabulary = models
        .iter()
        .map(|m| m.config.vocab_size)
        .min()
        .context("no model")? as u32;
    let mut random = StdRng::seed_from_u64(seed);
    // The first ids are special tokens in the usual vocabularies; RoBERTa counts positions by its padding id.
    let low = vocabulary.saturating_sub(1).min(4);
    let ids: Vec<Vec<u32>> = (0..rows)
        .map(|_| {
            (0..length)
                .map(|_| random.random_range(low..vocabulary))
                .collect()
        })
        .collect();
    models.iter().try_for_each(|model| model.validate(&ids))?;
    Ok(TextBatch::new(
        &ids,
        None,
        models[0].config.pad_token_id,
        device,
    ))
}

/// One forward pass, answer read back.
pub(super) fn milliseconds(model: &TextModel, batch: &TextBatch) -> Result<f64> {
    let start = Instant::now();
    let output = model.forward(
        batch,
        &ForwardOptions {
            hidden_states: false,
            dropout: false,
        },
    );
    // Only what a caller would read: a few numbers a sample, but nothing can be read before all is computed.
    let first = match output.logits {
        Some(logits) => logits,
        None => output.last_hidden_state.narrow(1, 0, 1).squeeze_dim::<2>(1),
    };
    let data = first
        .try_into_data()
        .map_err(|e| anyhow!("the device failed: {e:?}; try shorter lengths or a smaller batch"))?;
    // wgpu hands the data out before it is there: only looking at it waits.
    std::hint::black_box(data.as_bytes().first().copied());
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_and_crossover_come_from_the_medians() {
        let mut points = Vec::new();
        for length in [256usize, 512, 1024, 2048] {
            let n = length as f64;
            for (model, median_ms, bytes) in [
                ("transformer", n * n / 1000.0, n * 3.0),
                ("linear", n * 0.6, n),
            ] {
                let peak_bytes = Some(bytes as usize);
                points.push(Point {
                    length,
                    model,
                    median_ms,
                    p10_ms: 0.0,
                    p90_ms: 0.0,
                    first_ms: 0.0,
                    runs: 1,
                    peak_bytes,
                });
            }
        }
        let slopes = slopes(&points, 512);
        let close = |value: Option<f64>, want: f64| assert!((value.unwrap() - want).abs() < 1e-6);
        close(slopes.transformer_time, 2.0);
        close(slopes.linear_time, 1.0);
        close(slopes.transformer_peak, 1.0);
        assert!((cross(&points).unwrap() - 600.0).abs() < 1e-6);
        let json = serde_json::to_value(&points[0]).unwrap();
        let keys: Vec<&str> = json
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            keys,
            [
                "length",
                "model",
                "median_ms",
                "p10_ms",
                "p90_ms",
                "first_ms",
                "runs",
                "peak_bytes"
            ]
        );
    }
}
