//! A reference case's outcome, shaped like the JSON of `caldera check`.

use caldera_shaders::fixture::{CaseReport, TensorReport};
use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Case {
    case: String,
    known: bool,
    passed: bool,
    worst: Option<Worst>,
    tensors: Vec<Worst>,
    message: Option<String>,
}

#[derive(Serialize)]
struct Worst {
    tensor: String,
    error: f64,
    tolerance: f64,
    relative_rms: f64,
    passed: bool,
}

impl Case {
    /// A case of an operator or model that this build lacks.
    pub(crate) fn unknown(path: &str) -> Self {
        let message = Some("no such operator or model in this build".to_string());
        Self {
            case: path.to_string(),
            known: false,
            passed: false,
            worst: None,
            tensors: Vec::new(),
            message,
        }
    }
}

impl From<&TensorReport> for Worst {
    fn from(report: &TensorReport) -> Self {
        Self {
            tensor: report.tensor.clone(),
            error: report.error,
            tolerance: report.tolerance,
            relative_rms: report.relative_rms,
            passed: report.passed,
        }
    }
}

impl From<CaseReport> for Case {
    fn from(report: CaseReport) -> Self {
        Self {
            worst: report.worst().map(Worst::from),
            tensors: report.tensors.iter().map(Worst::from).collect(),
            case: report.case,
            known: report.known,
            passed: report.passed,
            message: report.message,
        }
    }
}
