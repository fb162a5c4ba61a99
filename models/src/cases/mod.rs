//! Comparison with stored reference cases: whole models and tokenizers.

mod models;
#[cfg(test)]
mod tests;
mod tokenizers;

use burn::tensor::Device;
use caldera_shaders::fixture::{Case, CaseReport};

/// Runs a case on `device`; None when it is of a family or a model that this crate does not know.
///
/// Async because a browser can read from a device in no other way; native callers use `caldera_shaders::block_on`.
pub async fn check(case: &Case, device: &Device) -> Option<CaseReport> {
    match case.family() {
        "models" => models::check(case, device).await,
        "tokenizers" => Some(tokenizers::check(case)),
        _ => None,
    }
}
