//! Runs the cases of a fixtures folder and puts every tensor's error beside its tolerance.

mod folder;
mod table;

pub use folder::{CaseFolder, find_cases, read_case};
pub use table::{json, print};

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

/// True when something known missed its tolerance or could not be read.
pub fn any_missed(reports: &[CaseReport]) -> bool {
    reports.iter().any(|r| r.known && !r.passed)
}

fn check(case: &Case, device: &Device) -> CaseReport {
    // A shape that a fixture lies about may panic inside Burn; the rest of the folder is still worth checking.
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        caldera_shaders::block_on(async {
            if let Some(report) = caldera_shaders::cases::check(case, device).await {
                return Some(report);
            }
            if let Some(report) = caldera_models::cases::check(case, device).await {
                return Some(report);
            }
            crate::losses::cases::check(case, device).await
        })
    }));
    match ran {
        Ok(Some(report)) => report,
        Ok(None) => CaseReport {
            case: case.path.clone(),
            known: false,
            passed: false,
            tensors: Vec::new(),
            message: None,
        },
        Err(panic) => failed(
            case.path.clone(),
            format!("the check stopped: {}", crate::commands::panic_text(&panic)),
        ),
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
