use burn::tensor::{DType, Tensor};
use proptest::prelude::*;

use super::{ctc_loss, reference, try_ctc_loss};
use crate::cases::check;
use crate::fixture::Case;
use crate::gradcheck::{Place, places, values};
use crate::tolerance::relative_rms;
use crate::tuning::{Tuning, in_layout};
use crate::{Lengths, ShapeError, block_on};

/// One problem and its answers in f64.
struct Problem {
    dims: [usize; 3],
    logits: Vec<f64>,
    frames: Vec<u32>,
    targets: Vec<Vec<u32>>,
    blank: u32,
    upstream: Vec<f64>,
}

/// A target of `len` labels, `blank` left out; about a quarter of the labels repeat the one before.
fn target(len: usize, classes: u32, blank: u32, seed: u64) -> Vec<u32> {
    let mut labels = Vec::with_capacity(len);
    for draw in values(len, 1.0, seed) {
        let draw = 0.5 * (draw + 1.0);
        let label = match labels.last() {
            Some(&last) if draw < 0.25 => last,
            _ => (draw * 1e6) as u32 % (classes - 1),
        };
        labels.push(label);
    }
    labels
        .into_iter()
        .map(|label| label + u32::from(label >= blank))
        .collect()
}

fn log_sum(values: &[f64]) -> f64 {
    let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return top;
    }
    top + values
        .iter()
        .map(|value| (value - top).exp())
        .sum::<f64>()
        .ln()
}

impl Problem {
    fn new(dims: [usize; 3], frames: &[usize], labels: &[usize], scale: f64, seed: u64) -> Self {
        let blank = seed as u32 % dims[2] as u32;
        Self {
            dims,
            logits: values(dims.iter().product(), scale, seed),
            frames: frames.iter().map(|&n| n as u32).collect(),
            targets: labels
                .iter()
                .enumerate()
                .map(|(i, &len)| target(len, dims[2] as u32, blank, seed + 10 + i as u64))
                .collect(),
            blank,
            upstream: values(dims[0], 1.0, seed + 1),
        }
    }

    /// Losses, and the gradient of Σ upstream · loss over the finite ones: the lattice in f64, without tricks.
    fn answers(&self) -> (Vec<f64>, Vec<f64>) {
        let [_, len, classes] = self.dims;
        let (mut losses, mut gradient) = (Vec::new(), vec![0.0; self.logits.len()]);
        for (sample, target) in self.targets.iter().enumerate() {
            let frames = self.frames[sample] as usize;
            let labels: Vec<usize> = (0..2 * target.len() + 1)
                .map(|s| if s % 2 == 1 { target[s / 2] } else { self.blank } as usize)
                .collect();
            let states = labels.len();
            let logp: Vec<Vec<f64>> = (0..frames)
                .map(|t| {
                    let row = &self.logits[(sample * len + t) * classes..][..classes];
                    row.iter().map(|x| x - log_sum(row)).collect()
                })
                .collect();
            let never = f64::NEG_INFINITY;
            let skips = |s: usize| s > 1 && s % 2 == 1 && labels[s] != labels[s - 2];
            let mut alpha = vec![vec![never; states]; frames];
            let mut beta = alpha.clone();
            for t in 0..frames {
                for s in 0..states {
                    let into = match t {
                        0 if s < 2 => 0.0,
                        0 => never,
                        _ => log_sum(&[
                            alpha[t - 1][s],
                            if s > 0 { alpha[t - 1][s - 1] } else { never },
                            if skips(s) { alpha[t - 1][s - 2] } else { never },
                        ]),
                    };
                    alpha[t][s] = into + logp[t][labels[s]];
                }
            }
            // Without the frame's own emission.
            for t in (0..frames).rev() {
                for s in 0..states {
                    let onto = |to: usize| beta[t + 1][to] + logp[t + 1][labels[to]];
                    beta[t][s] = if t + 1 == frames {
                        if s + 2 >= states { 0.0 } else { never }
                    } else {
                        log_sum(&[
                            onto(s),
                            if s + 1 < states { onto(s + 1) } else { never },
                            if s + 2 < states && skips(s + 2) {
                                onto(s + 2)
                            } else {
                                never
                            },
                        ])
                    };
                }
            }
            let whole = match frames {
                0 if states == 1 => 0.0,
                0 => never,
                _ => log_sum(&alpha[frames - 1][states.saturating_sub(2)..]),
            };
            losses.push(-whole);
            if whole == never {
                continue;
            }
            for t in 0..frames {
                let row = &mut gradient[(sample * len + t) * classes..][..classes];
                for (value, logp) in row.iter_mut().zip(&logp[t]) {
                    *value = self.upstream[sample] * logp.exp();
                }
                for s in 0..states {
                    row[labels[s]] -=
                        self.upstream[sample] * (alpha[t][s] + beta[t][s] - whole).exp();
                }
            }
        }
        (losses, gradient)
    }

    fn lengths(&self) -> Lengths {
        Lengths::new(self.frames.clone())
    }

    fn loss(&self, logits: Tensor<3>) -> Tensor<1> {
        ctc_loss(logits, &self.lengths(), &self.targets, self.blank)
    }

    /// Losses with and without autodiff, and the gradient, at `place`.
    fn check(&self, place: &Place) {
        let (losses, gradient) = self.answers();
        let finite: Vec<f64> = losses
            .iter()
            .copied()
            .filter(|loss| loss.is_finite())
            .collect();
        let logits = place.leaf(&self.logits, self.dims);
        let loss = self.loss(logits.clone());
        for found in [loss.clone().inner(), self.loss(logits.clone().inner())] {
            let found: Vec<f64> = found.into_data().iter::<f64>().collect();
            for (found, want) in found.iter().zip(&losses) {
                assert_eq!(
                    found.is_finite(),
                    want.is_finite(),
                    "{found}, not {want}, on {}",
                    place.name
                );
                assert!(
                    want.is_finite() || *found == f64::INFINITY,
                    "{found} on {}",
                    place.name
                );
            }
            let found: Vec<f64> = found.into_iter().filter(|loss| loss.is_finite()).collect();
            let error = relative_rms(&found, &finite);
            assert!(error <= place.allowed, "loss on {}: {error:e}", place.name);
        }
        let upstream = place.tensor(&self.upstream, [self.dims[0]]).autodiff();
        let gradients = (loss * upstream).sum().backward();
        let found = logits.grad(&gradients).expect("a leaf has a gradient");
        let found: Vec<f64> = found.into_data().iter::<f64>().collect();
        // What a frame rounds stays with all that follow, and a posterior is the exponential of a difference of logarithms as
        // large as the loss, each rounded in proportion.
        let largest = finite.iter().copied().fold(0.0, f64::max);
        let allowed =
            place.allowed * (self.dims[1] as f64 / 64.0).max(1.0) * (largest / 32.0).max(1.0);
        let error = relative_rms(&found, &gradient);
        assert!(
            error <= allowed,
            "gradient on {}: relative RMS {error:e}, allowed {allowed:e}",
            place.name
        );
    }
}

#[test]
fn reference_cases() {
    for place in places() {
        for name in ["tiny", "ragged", "long"] {
            let path = format!("ops/ctc-loss/{name}");
            let case = Case::read(&crate::cases::fixtures(), &path).unwrap();
            let report = block_on(check(&case, &place.device)).unwrap();
            assert!(
                report.passed && report.tensors.len() == 2,
                "{path} on {}: {report:#?}",
                place.name
            );
        }
    }
}

/// The sum over all alignments, one by one.
#[test]
fn every_alignment_counts_once() {
    let (frames, classes) = (5, 3);
    let logits = values(frames * classes, 2.0, 4);
    for place in places() {
        for labels in [
            vec![],
            vec![1],
            vec![1, 1],
            vec![1, 2, 1],
            vec![2, 2, 2],
            vec![1; 4],
        ] {
            let mut likelihood = 0.0;
            for path in 0..classes.pow(frames as u32) {
                let path: Vec<usize> = (0..frames)
                    .map(|t| path / classes.pow(t as u32) % classes)
                    .collect();
                let mut read = path.clone();
                read.dedup();
                read.retain(|&label| label != 0);
                if read
                    .iter()
                    .map(|&label| label as u32)
                    .eq(labels.iter().copied())
                {
                    likelihood += path
                        .iter()
                        .enumerate()
                        .map(|(t, &label)| {
                            let row = &logits[t * classes..][..classes];
                            row[label] - log_sum(row)
                        })
                        .sum::<f64>()
                        .exp();
                }
            }
            let tensor = place.tensor(&logits, [1, frames, classes]);
            let loss = ctc_loss(
                tensor,
                &Lengths::full(1, frames),
                std::slice::from_ref(&labels),
                0,
            );
            let loss = loss.into_data().iter::<f64>().next().expect("one sample");
            let error = (loss + likelihood.ln()).abs();
            assert!(
                loss == f64::INFINITY && likelihood == 0.0 || error < 1e-5 * loss.abs(),
                "{labels:?} on {}: {loss}, not {}",
                place.name,
                -likelihood.ln()
            );
        }
    }
}

#[test]
fn lengths_and_padding_match_f64() {
    for place in places() {
        for (seed, len) in [1usize, 2, 63, 64, 65, 257].into_iter().enumerate() {
            let frames = [len, len.div_ceil(2), len.min(3), 0];
            let labels = [len / 3, len / 4, 1, 0];
            Problem::new([4, len, 7], &frames, &labels, 3.0, seed as u64).check(&place);
        }
    }
}

#[test]
fn targets_longer_than_a_workgroup_match_f64() {
    for tuning in [Tuning::Software, Tuning::Hardware] {
        in_layout(tuning, targets_longer_than_a_workgroup);
    }
}

fn targets_longer_than_a_workgroup() {
    for place in places() {
        // 63, 255 and 601 states: for hardware below, at and past the invocations of a workgroup, for software all past them.
        for (seed, labels) in [31, 127, 300].into_iter().enumerate() {
            let problem = Problem::new(
                [2, 410, 40],
                &[410, 400],
                &[labels, 5],
                2.0,
                20 + seed as u64,
            );
            problem.check(&place);
        }
        // More classes than invocations, and as few as there can be.
        Problem::new([2, 30, 301], &[30, 21], &[9, 4], 3.0, 30).check(&place);
        Problem::new([2, 9, 2], &[9, 7], &[4, 3], 3.0, 31).check(&place);
    }
}

#[test]
fn what_cannot_be_spelt_has_an_infinite_loss_and_no_gradient() {
    for place in places() {
        let mut problem = Problem::new([5, 6, 4], &[6, 6, 2, 0, 0], &[0; 5], 2.0, 3);
        problem.blank = 0;
        problem.targets = vec![
            vec![1, 1, 2, 2],
            vec![1, 1, 2, 2, 3],
            vec![1, 2, 3],
            vec![1],
            vec![],
        ];
        let (losses, gradient) = problem.answers();
        let finite: Vec<bool> = losses.iter().map(|loss| loss.is_finite()).collect();
        assert_eq!(finite, [true, false, false, false, true]);
        assert!(gradient[24..].iter().all(|&value| value == 0.0));
        problem.check(&place);
    }
}

#[test]
fn extreme_logits_give_numbers() {
    for place in places() {
        for scale in [1e4, 1e30, 3e38] {
            let mut problem = Problem::new([2, 70, 9], &[70, 50], &[20, 9], scale, 7);
            // An impossible class, as a masked vocabulary has it.
            problem
                .logits
                .iter_mut()
                .step_by(9)
                .for_each(|logit| *logit = -1e30);
            let logits = place.leaf(&problem.logits, problem.dims);
            let loss = problem.loss(logits.clone());
            let found: Vec<f64> = loss.clone().into_data().iter::<f64>().collect();
            assert!(
                found.iter().all(|loss| *loss > 0.0),
                "{found:?} on {}",
                place.name
            );
            let gradients = loss.sum().backward();
            let gradient = logits
                .grad(&gradients)
                .expect("a leaf has a gradient")
                .into_data();
            assert!(
                gradient.iter::<f64>().all(|value| value.abs() <= 1.0001),
                "scale {scale:e} on {}",
                place.name
            );
        }
        let mut problem = Problem::new([2, 70, 9], &[70, 50], &[20, 9], 1e4, 8);
        // Whole numbers: the logarithms of the probabilities are so too, and f32 holds them.
        problem
            .logits
            .iter_mut()
            .for_each(|logit| *logit = logit.round());
        problem.check(&place);
    }
}

/// Long clips: the numbers of the recursion must not grow with the frames, nor its errors faster than they.
#[test]
fn a_long_clip_keeps_its_digits() {
    for place in places() {
        Problem::new([1, 3000, 32], &[3000], &[400], 4.0, 11).check(&place);
    }
}

/// Batches whose lattice exceeds a binding are worked on in parts, and long clips in segments; the CPU twin knows no such limits.
#[test]
fn parts_and_segments_equal_the_twin() {
    let [flex, gpu @ ..] = &places()[..] else {
        return;
    };
    let frames = [1000, 7000, 6600, 700, 0, 7000];
    let problem = Problem::new([6, 7000, 3], &frames, &[400, 30, 0, 60, 0, 9], 1.0, 17);
    let run = |place: &Place| {
        let logits = place.leaf(&problem.logits, problem.dims);
        let loss = problem.loss(logits.clone());
        let gradients = loss.clone().sum().backward();
        let gradient = logits.grad(&gradients).expect("a leaf has a gradient");
        let alone = problem.loss(logits.inner());
        [loss.into_data(), alone.into_data(), gradient.into_data()]
            .map(|data| data.iter::<f64>().collect::<Vec<_>>())
    };
    let [losses, alone, gradient] = run(flex);
    assert_eq!(losses, alone);
    for place in gpu {
        let found = run(place);
        for losses_found in &found[..2] {
            let error = relative_rms(losses_found, &losses);
            assert!(error < place.allowed, "{losses_found:?}, not {losses:?}");
        }
        let error = relative_rms(&found[2], &gradient);
        assert!(error < 2e-3, "gradient: {error:e}");
    }
}

#[test]
fn burns_own_operation_agrees() {
    for place in places() {
        let problem = Problem::new([3, 40, 12], &[40, 30, 12], &[9, 5, 2], 2.0, 13);
        let logits = place.tensor(&problem.logits, problem.dims);
        let loss = reference::ctc_loss(logits, &problem.lengths(), &problem.targets, problem.blank);
        place.assert_close("loss of Burn's operation", loss, &problem.answers().0);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let place = &places()[0];
    let logits = || place.tensor(&[0.0; 24], [2, 3, 4]);
    let run = |frames: &[u32], targets: &[&[u32]], blank| {
        let targets: Vec<Vec<u32>> = targets.iter().map(|target| target.to_vec()).collect();
        try_ctc_loss(logits(), &Lengths::new(frames.to_vec()), &targets, blank).map(|_| ())
    };
    assert_eq!(run(&[3, 2], &[&[1], &[2, 3]], 0), Ok(()));
    assert_eq!(
        run(&[3, 2], &[&[1], &[2, 4]], 0),
        Err(ShapeError::Label {
            sample: 1,
            position: 1,
            label: 4,
            classes: 4,
            blank: 0
        })
    );
    let error = run(&[3, 2], &[&[1, 0], &[2]], 0).unwrap_err();
    assert!(error.to_string().contains("sample 0"), "{error}");
    for (frames, targets, blank, word) in [
        (&[3, 4][..], &[&[1][..], &[2]][..], 0, "frames"),
        (&[3], &[&[1], &[2]], 0, "frames"),
        (&[3, 2], &[&[1]], 0, "targets"),
        (&[3, 2], &[&[1], &[2]], 4, "blank"),
    ] {
        let error = run(frames, targets, blank).unwrap_err().to_string();
        assert!(error.starts_with(&format!("ctc_loss: {word}")), "{error}");
    }
}

#[test]
fn empty_batches_clips_and_other_types_have_a_loss() {
    for place in places() {
        let none = Tensor::<3>::zeros([0, 5, 4], &place.device);
        assert_eq!(ctc_loss(none, &Lengths::new(vec![]), &[], 0).dims(), [0]);
        let clips = Tensor::<3>::zeros([2, 0, 4], &place.device);
        let loss = ctc_loss(clips, &Lengths::full(2, 0), &[vec![], vec![1]], 0);
        let loss: Vec<f64> = loss.into_data().iter::<f64>().collect();
        assert_eq!(loss, [0.0, f64::INFINITY]);
    }
    let place = &places()[0];
    let problem = Problem::new([2, 9, 5], &[9, 6], &[3, 2], 2.0, 5);
    let logits = place.tensor(&problem.logits, problem.dims).cast(DType::F64);
    let loss = problem.loss(logits);
    assert_eq!(loss.dtype(), DType::F64);
    place.assert_close("loss of f64", loss, &problem.answers().0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn any_size(
        samples in prop::collection::vec((0usize..90, 0usize..40), 1..5),
        extra in 0usize..4,
        classes in 2usize..80,
        scale in 0.5f64..8.0,
        seed in 0u64..1000,
    ) {
        let frames: Vec<usize> = samples.iter().map(|sample| sample.0).collect();
        let labels: Vec<usize> = samples.iter().map(|sample| sample.1).collect();
        let len = frames.iter().copied().max().unwrap_or(0) + extra + 1;
        for place in places() {
            Problem::new([samples.len(), len, classes], &frames, &labels, scale, seed).check(&place);
        }
    }
}
