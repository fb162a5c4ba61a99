//! Every operator at the sizes of real layers over length: time, bandwidth and arithmetic by count, against the device's own rates and
//! against the same in plain Burn operations.
//!
//! An operator is one file here that says what it takes and how much work it is ([`operator::Operator`]), and one line in [`ALL`].

mod causal_conv1d;
mod causal_conv1d_step;
mod conv1d;
mod ctc_loss;
mod gated_rmsnorm;
mod gelu;
mod layer_norm;
mod linear;
mod linear_attention;
mod linear_attention_step;
mod linformer_attention;
pub mod measure;
pub mod operator;
pub mod rates;
mod report;
mod reverse_padded;
mod rotary;
mod selective_scan;
mod selective_scan_step;
mod softmax_attention;
mod softmax_attention_step;
mod ssd;
mod ssd_step;
#[cfg(test)]
mod tests;

use super::statistics::{log_log_slope, quantile};
use crate::panics::caught;
use anyhow::{Result, anyhow, bail};
use burn::tensor::Device;
use caldera_shaders::is_gpu;
use caldera_shaders::launch::max_binding;
use measure::{Clock, Form, Problem, check};
use operator::{ModelShape, Operator, Size, Work};
use rates::Rates;
pub use report::{Pass, Point, Report, Series, Skipped};

/// Every operator that is measured.
pub static ALL: [&dyn Operator; 20] = [
    &softmax_attention::SoftmaxAttention,
    &softmax_attention_step::SoftmaxAttentionStep,
    &linformer_attention::LinformerAttention,
    &linear_attention::LinearAttention,
    &linear_attention_step::LinearAttentionStep,
    &layer_norm::LayerNorm,
    &gelu::Gelu,
    &linear::Linear,
    &causal_conv1d::CausalConv1d,
    &causal_conv1d_step::CausalConv1dStep,
    &conv1d::Conv1d,
    &reverse_padded::ReversePadded,
    &rotary::Rotary,
    &selective_scan::SelectiveScan,
    &selective_scan_step::SelectiveScanStep,
    &ssd::Ssd,
    &ssd_step::SsdStep,
    &gated_rmsnorm::GatedRmsNorm,
    &ctc_loss::CtcLoss,
    &ctc_loss::CtcLossGradient,
];

/// Slopes are taken over these lengths: below, costs that do not depend on length weigh too much.
const SLOPE_LENGTHS: (usize, usize) = (1024, 16_384);

/// What to measure.
pub struct Plan {
    /// Operators.
    pub operators: Vec<&'static dyn Operator>,
    /// Models whose layers they are sized for; an operator that a model has not is left out there.
    pub models: Vec<&'static ModelShape>,
    /// Sequence lengths, rising.
    pub lengths: Vec<usize>,
    /// Sequences.
    pub batch: usize,
    /// Most timed runs of a pass.
    pub runs: usize,
    /// Seconds for the runs of one pass at one length; a length at which a single run would take longer is left out.
    pub budget_s: f64,
    /// Bytes that the plain form may hold.
    pub reference_bytes: f64,
    /// Operations of a check, both passes together: lengths that need more are covered by the check at the longest that does not.
    pub check_flops: f64,
    /// Small sizes for the device's own rates.
    pub quick: bool,
}

/// Measures; `done` hears of the points of a length as they come, with the report so far. An operator that does not agree with its oracle is not timed and
/// comes under `failed`, with the others' figures beside it.
///
/// # Errors
/// When there is nothing to measure, or when the device fails at its own rates.
pub fn sweep(
    plan: &Plan,
    device: &Device,
    mut done: impl FnMut(&[Point], &Report),
) -> Result<Report> {
    if plan.lengths.is_empty() || plan.lengths.contains(&0) || plan.batch == 0 || plan.runs == 0 {
        bail!("nothing to measure: expected lengths, sequences and runs of at least 1");
    }
    let rates = Rates::measure(device, plan.quick)?;
    let mut report = Report {
        rates,
        points: Vec::new(),
        series: Vec::new(),
        skipped: Vec::new(),
        failed: Vec::new(),
    };
    for &operator in &plan.operators {
        for &model in plan.models.iter().filter(|model| operator.applies(model)) {
            let start = report.points.len();
            lengths(plan, operator, model, device, &mut report, &mut done);
            report.series.extend(series(&report.points[start..]));
        }
    }
    if report.points.is_empty() && report.failed.is_empty() {
        bail!("nothing to measure: none of the shapes has one of the operators");
    }
    Ok(report)
}

fn lengths(
    plan: &Plan,
    operator: &'static dyn Operator,
    model: &'static ModelShape,
    device: &Device,
    report: &mut Report,
    done: &mut impl FnMut(&[Point], &Report),
) {
    // A pass of the plain form and how long it took, to tell whether a longer one is worth waiting for.
    let mut plain = [None, None];
    let mut slowest: Option<(Size, f64)> = None;
    let mut checked = 0;
    for &len in &plan.lengths {
        let size = Size {
            model,
            batch: plan.batch,
            len,
        };
        let not = |reason| Skipped {
            operator: operator.name(),
            shape: model.name,
            length: len,
            reason,
        };
        if let Some(reason) = too_large(operator, &size, device) {
            report.skipped.push(not(reason));
            continue;
        }
        if let Some((shorter, ms)) = &slowest {
            let expected_ms = ms * flops(operator, &size) / flops(operator, shorter);
            if expected_ms > plan.budget_s * 1e3 {
                report.skipped.push(not(format!(
                    "a pass took {ms:.0} ms at {} positions: about {expected_ms:.0} ms here, the budget is {:.0}",
                    shorter.len,
                    plan.budget_s * 1e3
                )));
                continue;
            }
        }
        // On the CPU the oracle is the plain form, which must be worth waiting for.
        let oracle_fits = is_gpu(device)
            || plain
                .iter()
                .all(|last| reference_reason(plan, operator, &size, *last).is_none());
        if checked == 0 || oracle_fits && flops(operator, &size) <= plan.check_flops {
            if let Err(error) = unbroken(|| check(operator, size, device)) {
                report.failed.push(not(format!("{error:#}")));
                return;
            }
            checked = len;
        }
        let problem = match unbroken(|| Ok(Problem::new(operator, size, device))) {
            Ok(problem) => problem,
            Err(error) => {
                report.failed.push(not(format!("{error:#}")));
                return;
            }
        };
        let passes = [
            Some((Pass::Forward, operator.forward(&size))),
            operator.backward(&size).map(|work| (Pass::Backward, work)),
        ];
        let first = report.points.len();
        for (pass, work) in passes.into_iter().flatten() {
            let plain = &mut plain[pass as usize];
            let timed = unbroken(|| time(plan, &problem, operator, &size, pass, plain));
            let timing = match timed {
                Ok(timing) => timing,
                Err(error) => {
                    report.failed.push(not(format!("{error:#}")));
                    done(&report.points[first..], report);
                    return;
                }
            };
            report
                .points
                .push(timing.point(operator, &size, pass, work, &report.rates, checked));
        }
        let points = &report.points[first..];
        let most = points.iter().map(|p| p.median_ms).fold(0.0, f64::max);
        slowest = Some((size, most));
        done(points, report);
    }
}

/// `work`, with a panic as an error: what a device refuses ends one operator's figures and not all.
fn unbroken<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    caught(work).unwrap_or_else(|text| Err(anyhow!("it panicked: {text}")))
}

/// Why a GPU cannot take an operator at this size: one of its arguments is more than a binding holds.
fn too_large(operator: &dyn Operator, size: &Size, device: &Device) -> Option<String> {
    let arguments = operator.arguments(size);
    let largest = arguments.iter().max_by_key(|argument| argument.values())?;
    let bytes = 4 * largest.values() as u64;
    let limit = max_binding(device)?;
    (bytes > limit).then(|| {
        format!(
            "{} takes {} MiB, and this device binds {} at once",
            largest.name,
            bytes >> 20,
            limit >> 20
        )
    })
}

/// Operations of both passes, or bytes where those are more.
fn flops(operator: &dyn Operator, size: &Size) -> f64 {
    let work = |work: Work| work.flops.max(work.bytes);
    work(operator.forward(size)) + operator.backward(size).map_or(0.0, work)
}

/// What one pass at one length gave.
struct Timing {
    median_ms: f64,
    p10_ms: f64,
    p90_ms: f64,
    runs: usize,
    /// Median of the plain form, or why there is none.
    reference: Result<f64, String>,
}

/// Times a pass and its plain form in turns. `plain` holds length and milliseconds of the plain form's last length.
fn time(
    plan: &Plan,
    problem: &Problem,
    operator: &dyn Operator,
    size: &Size,
    pass: Pass,
    plain: &mut Option<(usize, f64)>,
) -> Result<Timing> {
    let once = |form: Form, clock: &Clock| match pass {
        Pass::Forward => clock.forward(|| Ok(problem.forward(form))),
        Pass::Backward => clock.backward(|| problem.graph(form)),
    };
    let warm = |form: Form| -> Result<(Clock, f64)> {
        let clock = Clock::new(problem.device(), || Ok(problem.forward(form)))?;
        let first = once(form, &clock)?;
        Ok((clock, first))
    };
    let limit_ms = plan.budget_s * 1e3;
    let (clock, first_ms) = warm(Form::Fused)?;
    let mut reason = reference_reason(plan, operator, size, *plain);
    let mut reference = None;
    if reason.is_none() {
        // A device may have no room for what the plain form holds; the operator is measured all the same.
        match unbroken(|| warm(Form::Plain)) {
            Ok((plain_clock, plain_ms)) => {
                *plain = Some((size.len, plain_ms));
                reference = Some((plain_clock, plain_ms));
            }
            Err(error) => reason = Some(format!("the plain form failed: {error:#}")),
        }
    }
    let a_run = clock.calls() * first_ms + reference.as_ref().map_or(0.0, |(c, ms)| c.calls() * ms);
    let runs = ((limit_ms / a_run.max(1e-6)) as usize).clamp(1, plan.runs);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..runs {
        // Turn and turn about, so that a machine that slows down slows both.
        if run % 2 == 0 {
            ours.push(once(Form::Fused, &clock)?);
        }
        if let Some((clock, _)) = &reference {
            theirs.push(once(Form::Plain, clock)?);
        }
        if run % 2 == 1 {
            ours.push(once(Form::Fused, &clock)?);
        }
    }
    Ok(Timing {
        median_ms: quantile(&ours, 0.5),
        p10_ms: quantile(&ours, 0.1),
        p90_ms: quantile(&ours, 0.9),
        runs,
        reference: match reason {
            None => Ok(quantile(&theirs, 0.5)),
            Some(reason) => Err(reason),
        },
    })
}

/// Why the plain form is not run at this size.
fn reference_reason(
    plan: &Plan,
    operator: &dyn Operator,
    size: &Size,
    last: Option<(usize, f64)>,
) -> Option<String> {
    let bytes = operator.reference_bytes(size);
    if bytes > plan.reference_bytes {
        return Some(format!(
            "the plain form needs about {:.0} MiB, the limit is {:.0}",
            bytes / f64::from(1 << 20),
            plan.reference_bytes / f64::from(1 << 20)
        ));
    }
    let (len, ms) = last?;
    let shorter = Size { len, ..*size };
    let expected_ms = ms * flops(operator, size) / flops(operator, &shorter);
    (expected_ms > plan.budget_s * 1e3).then(|| {
        format!(
            "the plain form took {ms:.0} ms at {len} positions: about {expected_ms:.0} ms here, the budget is {:.0}",
            plan.budget_s * 1e3
        )
    })
}

impl Timing {
    fn point(
        self,
        operator: &dyn Operator,
        size: &Size,
        pass: Pass,
        work: Work,
        rates: &Rates,
        checked_length: usize,
    ) -> Point {
        let gb_s = work.bytes / self.median_ms / 1e6;
        let gflop_s = work.flops / self.median_ms / 1e6;
        Point {
            operator: operator.name(),
            shape: size.model.name,
            batch: size.batch,
            length: size.len,
            pass,
            median_ms: self.median_ms,
            p10_ms: self.p10_ms,
            p90_ms: self.p90_ms,
            runs: self.runs,
            bytes: work.bytes,
            flops: work.flops,
            gb_s,
            gflop_s,
            copy_fraction: gb_s / rates.copy_gb_s,
            matmul_fraction: gflop_s / rates.matmul_gflop_s,
            checked_length,
            reference_ms: self.reference.as_ref().ok().copied(),
            ratio: self.reference.as_ref().ok().map(|ms| ms / self.median_ms),
            ratio_reason: self.reference.err(),
        }
    }
}

/// The growth of one operator's passes at one shape.
fn series(points: &[Point]) -> Vec<Series> {
    [Pass::Forward, Pass::Backward]
        .into_iter()
        .filter_map(|pass| {
            let points: Vec<_> = points.iter().filter(|p| p.pass == pass).collect();
            let last = points.last()?;
            let curve: Vec<_> = points
                .iter()
                .filter(|p| p.length <= SLOPE_LENGTHS.1)
                .map(|p| (p.length as f64, p.median_ms))
                .collect();
            let with_ratio = points.iter().rev().find(|p| p.ratio.is_some());
            Some(Series {
                operator: last.operator,
                shape: last.shape,
                pass,
                slope: log_log_slope(&curve, SLOPE_LENGTHS.0 as f64),
                ratio_length: with_ratio.map(|p| p.length),
                ratio: with_ratio.and_then(|p| p.ratio),
            })
        })
        .collect()
}
