//! What `bench ops` finds, as it stands in its JSON.

use super::rates::Rates;
use serde::Serialize;

/// Forward or backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// Without a graph.
    Forward,
    /// From a gradient of ones to every argument's gradient, the forward pass not counted.
    Backward,
}

/// One pass of one operator at one length.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// Name of the operator.
    pub operator: &'static str,
    /// Model whose layer it is sized for.
    pub shape: &'static str,
    /// Sequences.
    pub batch: usize,
    /// Positions of each.
    pub length: usize,
    /// Which pass.
    pub pass: Pass,
    /// Half of the runs were faster.
    pub median_ms: f64,
    /// A tenth of the runs was faster.
    pub p10_ms: f64,
    /// Nine tenths of the runs were faster.
    pub p90_ms: f64,
    /// Timed runs.
    pub runs: usize,
    /// Bytes that must be read or written, by count.
    pub bytes: f64,
    /// Operations, by count.
    pub flops: f64,
    /// Achieved bandwidth.
    pub gb_s: f64,
    /// Achieved arithmetic.
    pub gflop_s: f64,
    /// Share of the device's copy.
    pub copy_fraction: f64,
    /// Share of the device's matrix product.
    pub matmul_fraction: f64,
    /// Length at which the operator was held against its oracle in this run.
    pub checked_length: usize,
    /// Median of the plain form, run in turns with the operator.
    pub reference_ms: Option<f64>,
    /// Time of the plain form over that of the operator: above 1 the operator is faster.
    pub ratio: Option<f64>,
    /// Why there is no ratio.
    pub ratio_reason: Option<String>,
}

/// How one pass of one operator grows with length.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// Name of the operator.
    pub operator: &'static str,
    /// Model whose layer it is sized for.
    pub shape: &'static str,
    /// Which pass.
    pub pass: Pass,
    /// Log-log slope of the median over length, from 1,024 to 16,384; none with fewer than two lengths there.
    pub slope: Option<f64>,
    /// Longest length at which the plain form fitted.
    pub ratio_length: Option<usize>,
    /// The ratio there.
    pub ratio: Option<f64>,
}

/// A length that was not measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Skipped {
    /// Name of the operator.
    pub operator: &'static str,
    /// Model whose layer it is sized for.
    pub shape: &'static str,
    /// The length.
    pub length: usize,
    /// Why.
    pub reason: String,
}

/// Everything measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The device's own rates.
    #[serde(flatten)]
    pub rates: Rates,
    /// By operator, model, length and pass.
    pub points: Vec<Point>,
    /// By operator, model and pass.
    pub series: Vec<Series>,
    /// What would have taken too long, or more than a binding holds.
    pub skipped: Vec<Skipped>,
    /// What was not timed, or no further, because it disagreed with its oracle or the device failed.
    pub failed: Vec<Skipped>,
}
