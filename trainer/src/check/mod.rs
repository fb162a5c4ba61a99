//! Runs the cases of a fixtures folder, or the operators against their CPU twins, and puts every tensor's error beside its tolerance.

mod folder;
mod table;

pub use folder::{CaseFolder, find_cases, read_case};
pub use table::{json, print};

use crate::panics::caught;
use anyhow::Result;
use burn::tensor::Device;
use caldera_shaders::fixture::{Case, CaseReport};
use std::path::Path;

/// Runs every case below `path` (the root of the fixtures, a family, or one case) on `device`.
///
/// `done` hears of each report as it comes. A case that cannot be read, or whose check panics, is a failed one with the reason as its message; the
/// others still run.
///
/// # Errors
/// When `path` does not exist or holds no case at all.
pub fn run(
    path: &Path,
    device: &Device,
    mut done: impl FnMut(&CaseReport),
) -> Result<Vec<CaseReport>> {
    let mut reports = Vec::new();
    for folder in find_cases(path)? {
        let report = match read_case(&folder) {
            Ok(case) => check(&case, device),
            Err(error) => failed(folder.name.clone(), format!("{error:#}")),
        };
        done(&report);
        reports.push(report);
    }
    Ok(reports)
}

/// Runs every operator on `device` and on the CPU, and compares results, states and gradients. `done` as in [`run`].
pub fn run_twins(device: &Device, mut done: impl FnMut(&CaseReport)) -> Vec<CaseReport> {
    let twins = caldera_shaders::twins::names().map(|name| {
        let report = guarded(&format!("twins/{name}"), || {
            caldera_shaders::block_on(caldera_shaders::twins::check(name, device))
        });
        done(&report);
        report
    });
    twins.collect()
}

/// True when something known missed its tolerance or could not be read.
pub fn any_missed(reports: &[CaseReport]) -> bool {
    reports.iter().any(|r| r.known && !r.passed)
}

fn check(case: &Case, device: &Device) -> CaseReport {
    guarded(&case.path, || {
        caldera_shaders::block_on(async {
            if let Some(report) = caldera_shaders::cases::check(case, device).await {
                return Some(report);
            }
            if let Some(report) = caldera_models::cases::check(case, device).await {
                return Some(report);
            }
            crate::losses::cases::check(case, device).await
        })
    })
}

/// What `check` says of `case`, a panic included: a shape that a fixture lies about may cause one inside Burn, and the others are still
/// worth checking.
fn guarded(case: &str, check: impl FnOnce() -> Option<CaseReport>) -> CaseReport {
    match caught(check) {
        Ok(Some(report)) => report,
        Ok(None) => CaseReport {
            case: case.to_owned(),
            known: false,
            passed: false,
            tensors: Vec::new(),
            message: None,
        },
        Err(text) => failed(case.to_owned(), format!("the check stopped: {text}")),
    }
}

fn failed(case: String, message: String) -> CaseReport {
    CaseReport {
        case,
        known: true,
        passed: false,
        tensors: Vec::new(),
        message: Some(message),
    }
}
