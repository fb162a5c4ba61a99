//! Masked frames, as in SpecAugment (Park et al. 2019, arXiv 1904.08779).

use caldera_models::SpeechConfig;

use super::Random;

/// How much of a clip is masked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TimeMask {
    /// Share of the frames that would be masked if spans did not overlap.
    pub probability: f64,
    /// Frames of a span.
    pub length: usize,
    /// Spans of a clip, at least.
    pub least: usize,
}

impl TimeMask {
    /// What a model's configuration asks for in training.
    pub fn of(config: &SpeechConfig) -> Option<Self> {
        let mask = Self {
            probability: config.mask_time_prob,
            length: config.mask_time_length,
            least: config.mask_time_min_masks,
        };
        (config.apply_spec_augment && mask.probability > 0.0 && mask.length > 0).then_some(mask)
    }

    /// Spans of a clip of `frames` frames among clips of `longest`.
    fn spans(&self, frames: usize, longest: usize, rounding: f64) -> usize {
        let expected = self.probability * frames as f64 / self.length as f64 + rounding;
        let spans = (expected as usize).max(self.least);
        let spans = spans.min(longest / self.length);
        // Every span begins somewhere else, and ends within the clip.
        spans.min((frames + 1).saturating_sub(self.length))
    }
}

/// \[B, T\] with T the longest of `frames`: true where a frame is masked. As transformers' `_compute_mask_indices` draws it:
/// one rounding for the batch, then for each clip that many spans from different places, which may overlap. Clips shorter
/// than a span are left as they are. `seed` decides.
pub fn time_mask(frames: &[u32], mask: &TimeMask, seed: u64) -> Vec<bool> {
    let longest = frames.iter().copied().max().unwrap_or(0) as usize;
    let mut masked = vec![false; frames.len() * longest];
    let mut random = Random::new(seed, 0x3a5c);
    let rounding = random.share();
    for (row, frames) in masked.chunks_mut(longest.max(1)).zip(frames) {
        let frames = *frames as usize;
        let spans = mask.spans(frames, longest, rounding);
        let mut starts: Vec<usize> = (0..(frames + 1).saturating_sub(mask.length)).collect();
        random.shuffle(&mut starts);
        for start in starts.into_iter().take(spans) {
            row[start..start + mask.length].fill(true);
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn spans_lie_within_their_clips(
            frames in proptest::collection::vec(0..200u32, 1..8), probability in 0.0..1.0f64,
            length in 1..20usize, least in 0..4usize, seed: u64,
        ) {
            let mask = TimeMask { probability, length, least };
            let masked = time_mask(&frames, &mask, seed);
            prop_assert_eq!(&masked, &time_mask(&frames, &mask, seed));
            let longest = *frames.iter().max().unwrap() as usize;
            prop_assert_eq!(masked.len(), frames.len() * longest);
            for (row, frames) in masked.chunks(longest.max(1)).zip(&frames) {
                let frames = *frames as usize;
                prop_assert!(row[frames..].iter().all(|on| !on));
                let count = row.iter().filter(|on| **on).count();
                // Each run of masked frames is as long as a span at least.
                prop_assert!(row.split(|on| !on).all(|run| run.is_empty() || run.len() >= length));
                let most = (probability * frames as f64 / length as f64 + 1.0) as usize;
                prop_assert!(count <= most.max(least) * length);
                if least > 0 && frames >= length {
                    prop_assert!(count >= length);
                }
            }
        }
    }

    #[test]
    fn as_many_spans_as_expected_on_average() {
        let mask = TimeMask {
            probability: 0.3,
            length: 10,
            least: 0,
        };
        let spans: usize = (0..2000)
            .map(|seed| mask.spans(125, 200, Random::new(seed, 1).share()))
            .sum();
        let mean = spans as f64 / 2000.0;
        assert!((mean - 3.75).abs() < 0.05, "{mean}");
        // Another seed, another mask.
        assert_ne!(time_mask(&[125], &mask, 1), time_mask(&[125], &mask, 2));
        assert_eq!(
            TimeMask {
                probability: 1.0,
                length: 10,
                least: 2
            }
            .spans(10, 200, 0.9),
            1
        );
        assert_eq!(
            TimeMask {
                probability: 1.0,
                length: 10,
                least: 2
            }
            .spans(9, 200, 0.9),
            0
        );
    }
}
