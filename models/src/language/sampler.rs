//! The next token from logits, on the host.

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::ModelError;

/// How the next token is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Sampling {
    /// The one with the largest logit; of equals the first.
    #[default]
    Greedy,
    /// One by its probability.
    Random {
        /// Logits are divided by it; above 0.
        temperature: f64,
        /// Only the so many most likely, at least 1; None: all.
        top_k: Option<usize>,
        /// Then only the most likely whose probabilities just reach this sum, above 0 and at most 1 (Holtzman et al.
        /// 2019, arXiv 1904.09751); None: all.
        top_p: Option<f64>,
    },
}

impl Sampling {
    fn check(&self) -> Result<(), ModelError> {
        let Self::Random {
            temperature,
            top_k,
            top_p,
        } = *self
        else {
            return Ok(());
        };
        let bad = |key: &str, expected: &str, found: String| {
            Err(ModelError::Config {
                file: "generation".to_string(),
                key: key.to_string(),
                expected: expected.to_string(),
                found,
                advice: "Correct the value, or leave it out".to_string(),
            })
        };
        if !(temperature > 0.0 && temperature.is_finite()) {
            const EXPECTED: &str = "a number above 0 (for the likeliest token choose greedy)";
            return bad("temperature", EXPECTED, temperature.to_string());
        }
        if top_k == Some(0) {
            return bad("top_k", "a whole number of at least 1", "0".to_string());
        }
        match top_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            Some(p) => bad("top_p", "a number above 0 and at most 1", p.to_string()),
            None => Ok(()),
        }
    }
}

/// A choice of tokens that follows from its seed.
#[derive(Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    random: StdRng,
}

impl Sampler {
    pub fn new(sampling: Sampling, seed: u64) -> Result<Self, ModelError> {
        sampling.check()?;
        Ok(Self {
            sampling,
            random: StdRng::seed_from_u64(seed),
        })
    }

    /// The token chosen by its logits; None where they hold no finite largest one.
    pub fn pick(&mut self, logits: &[f32]) -> Option<u32> {
        if logits.iter().any(|x| x.is_nan()) {
            return None;
        }
        let mut best = 0;
        for (i, &logit) in logits.iter().enumerate() {
            if logit > logits[best] {
                best = i;
            }
        }
        let largest = *logits.get(best).filter(|x| x.is_finite())?;
        let Sampling::Random {
            temperature,
            top_k,
            top_p,
        } = self.sampling
        else {
            return Some(best as u32);
        };
        let mut likely: Vec<(usize, f64)> = logits
            .iter()
            .map(|&x| ((x - largest) as f64 / temperature).exp())
            .enumerate()
            .collect();
        let order = |a: &(usize, f64), b: &(usize, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if let Some(k) = top_k.filter(|&k| k < likely.len()) {
            likely.select_nth_unstable_by(k - 1, order);
            likely.truncate(k);
        }
        if top_k.is_some() || top_p.is_some() {
            likely.sort_unstable_by(order);
        }
        let mut sum: f64 = likely.iter().map(|(_, p)| p).sum();
        if let Some(top_p) = top_p {
            let (mut reached, enough) = (0.0, top_p * sum);
            let kept = likely.iter().take_while(|(_, p)| {
                let wanted = reached < enough;
                reached += p;
                wanted
            });
            likely.truncate(kept.count().max(1));
            sum = likely.iter().map(|(_, p)| p).sum();
        }
        let mut rest = self.random.random::<f64>() * sum;
        let found = likely.iter().find(|(_, p)| {
            rest -= p;
            rest < 0.0
        });
        // Rounding may leave a crumb behind the last.
        let (token, _) = found.or(likely.last())?;
        Some(*token as u32)
    }
}
