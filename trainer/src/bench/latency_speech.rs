//! Latency of speech models over seconds of audio.

use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use burn::tensor::Device;
use caldera_models::{FeatureExtractor, ForwardOptions, SpeechBatch, SpeechModel};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::latency::{Plan, Subject};

/// An hour: what is longer is a mistake.
const LONGEST: usize = 3600;

impl Subject for SpeechModel {
    type Batch = SpeechBatch;
    const UNIT: &'static str = "seconds";
    const SLOPE_FROM: usize = 8;

    fn longest(&self) -> usize {
        LONGEST
    }

    fn batch(
        models: [&Self; 2],
        plan: &Plan,
        seconds: usize,
        device: &Device,
    ) -> Result<SpeechBatch> {
        let [a, b] = models.map(sampling_rate);
        let (rate, other) = (a?, b?);
        if rate != other {
            bail!("expected one sampling rate for both models, found {rate} and {other}");
        }
        let mut random = StdRng::seed_from_u64(plan.seed);
        let mut clip = || -> Vec<f32> {
            let count = seconds * rate as usize;
            (0..count).map(|_| random.random_range(-1.7..1.7)).collect()
        };
        let clips: Vec<Vec<f32>> = (0..plan.batch).map(|_| clip()).collect();
        let clips: Vec<&[f32]> = clips.iter().map(Vec::as_slice).collect();
        models.iter().try_for_each(|model| model.validate(&clips))?;
        Ok(SpeechBatch::new(&clips, &models[0].config, device))
    }

    fn run(&self, batch: &SpeechBatch) -> Result<f64> {
        let start = Instant::now();
        let output = self.forward(batch, &ForwardOptions::default());
        // Nothing can be read before all is computed.
        let answer = output.logits.unwrap_or(output.last_hidden_state);
        answer.narrow(1, 0, 1).try_into_data().map_err(|e| {
            anyhow!("the device failed: {e:?}; try shorter lengths or a smaller batch")
        })?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

fn sampling_rate(model: &SpeechModel) -> Result<u32> {
    const FILE: &str = "preprocessor_config.json";
    Ok(match model.files.get(FILE) {
        Some(bytes) => FeatureExtractor::from_json(bytes, FILE)?.sampling_rate,
        None => 16_000,
    })
}
