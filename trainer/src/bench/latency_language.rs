//! Latency of language models over a context: what it takes to read a prompt.

use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use burn::tensor::Device;
use caldera_models::{ForwardOptions, LanguageBatch, LanguageModel};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::latency::{Plan, Subject};

/// Where no model has positions that end: what is longer is a mistake.
const LONGEST: usize = 1 << 20;

impl Subject for LanguageModel {
    type Batch = LanguageBatch;
    const UNIT: &'static str = "tokens";
    const SLOPE_FROM: usize = 512;

    fn longest(&self) -> usize {
        self.config.max_length().unwrap_or(LONGEST)
    }

    fn batch(
        models: [&Self; 2],
        plan: &Plan,
        length: usize,
        device: &Device,
    ) -> Result<LanguageBatch> {
        let vocabulary = models.iter().map(|model| model.config.vocab_size).min();
        let vocabulary = vocabulary.context("no model")? as u32;
        let mut random = StdRng::seed_from_u64(plan.seed);
        let mut row = || -> Vec<u32> {
            let ids = 0..length;
            ids.map(|_| random.random_range(0..vocabulary)).collect()
        };
        let ids: Vec<Vec<u32>> = (0..plan.batch).map(|_| row()).collect();
        models.iter().try_for_each(|model| model.validate(&ids))?;
        let padding = models[0].config.padding();
        Ok(LanguageBatch::new(&ids, padding, device))
    }

    fn run(&self, batch: &LanguageBatch) -> Result<f64> {
        let start = Instant::now();
        let states = self.states(batch, &ForwardOptions::default());
        // The logits of the token to come, which is all that generation asks of a prompt.
        let last = states.final_norm.narrow(1, batch.length() - 1, 1);
        let data = self.logits(last).try_into_data().map_err(|e| {
            anyhow!("the device failed: {e:?}; try shorter lengths or a smaller batch")
        })?;
        // wgpu hands the data out before it is there: only looking at it waits.
        std::hint::black_box(data.as_bytes().first().copied());
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}
