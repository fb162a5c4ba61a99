//! Runs the reference cases of the operators in this crate.

use burn::tensor::{Device, Tensor};

use crate::fixture::{Case, CaseReport, Comparer, FixtureError};
use crate::{linformer_attention, selective_scan, softmax_attention};

/// Runs `case` on `device`: outputs and every gradient.
///
/// `None` when the case is not of an operator that this crate has. The device need not have autodiff.
pub async fn check(case: &Case, device: &Device) -> Option<CaseReport> {
    if case.family() != "ops" {
        return None;
    }
    let device = device.clone().autodiff();
    let result = match case.name() {
        "softmax-attention" => check_softmax(case, &device).await,
        "linear-attention" => crate::linear_attention::case::check_case(case, &device).await,
        "linformer-attention" => check_linformer(case, &device).await,
        "mamba1-scan" => selective_scan::check_case(case, &device).await,
        "gated-rmsnorm" => crate::gated_rmsnorm::case::check_case(case, &device).await,
        "mamba2-ssd" => crate::ssd::case::check_case(case, &device).await,
        "causal-conv1d" => crate::causal_conv1d::check_case(case, &device).await,
        "ctc-loss" => crate::ctc_loss::check_case(case, &device).await,
        "reverse-time" => crate::reverse_padded::check_case(case, &device).await,
        _ => return None,
    };
    Some(result.unwrap_or_else(|error| CaseReport::failed(case, error)))
}

/// An input as a leaf of the graph. Cases hold `[B, H, L, P]`, the operators take `[B, L, H, P]`.
fn leaf(case: &Case, name: &str, device: &Device) -> Result<Tensor<4>, FixtureError> {
    Ok(case.tensor::<4>(name, device)?.require_grad())
}

async fn check_softmax(case: &Case, device: &Device) -> Result<CaseReport, FixtureError> {
    let [q, k, v] = [
        leaf(case, "in.q", device)?,
        leaf(case, "in.k", device)?,
        leaf(case, "in.v", device)?,
    ];
    let lengths = case.lengths()?;
    let causal = case.facts()["causal"].as_bool().unwrap_or(false);
    let swapped = [&q, &k, &v].map(|tensor| tensor.clone().swap_dims(1, 2));
    let [query, key, value] = swapped;
    let y = softmax_attention(query, key, value, &lengths, causal).swap_dims(1, 2);
    let mut comparer = Comparer::new(case, device);
    comparer.compare("out.y", y.clone().inner()).await;
    let gradients = (y * case.tensor::<4>("up.y", device)?).sum().backward();
    for (name, tensor) in [("grad.q", &q), ("grad.k", &k), ("grad.v", &v)] {
        match tensor.grad(&gradients) {
            Some(gradient) => comparer.compare(name, gradient).await,
            None => comparer.fail(format!("{name}: no gradient")),
        }
    }
    Ok(comparer.finish())
}

async fn check_linformer(case: &Case, device: &Device) -> Result<CaseReport, FixtureError> {
    let [q, k, v] = [
        leaf(case, "in.q", device)?,
        leaf(case, "in.k", device)?,
        leaf(case, "in.v", device)?,
    ];
    let e = case.tensor::<2>("in.e", device)?.require_grad();
    let f = case.tensor::<2>("in.f", device)?.require_grad();
    let lengths = case.lengths()?;
    let swapped = [&q, &k, &v].map(|tensor| tensor.clone().swap_dims(1, 2));
    let [query, key, value] = swapped;
    let y = linformer_attention(query, key, value, e.clone(), f.clone(), &lengths).swap_dims(1, 2);
    let mut comparer = Comparer::new(case, device);
    comparer.compare("out.y", y.clone().inner()).await;
    let gradients = (y * case.tensor::<4>("up.y", device)?).sum().backward();
    for (name, tensor) in [("grad.q", &q), ("grad.k", &k), ("grad.v", &v)] {
        match tensor.grad(&gradients) {
            Some(gradient) => comparer.compare(name, gradient).await,
            None => comparer.fail(format!("{name}: no gradient")),
        }
    }
    for (name, tensor) in [("grad.e", &e), ("grad.f", &f)] {
        match tensor.grad(&gradients) {
            Some(gradient) => comparer.compare(name, gradient).await,
            None => comparer.fail(format!("{name}: no gradient")),
        }
    }
    Ok(comparer.finish())
}

/// The repository's own fixtures.
#[cfg(test)]
pub(crate) fn fixtures() -> std::path::PathBuf {
    std::path::PathBuf::from(
        std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package lies"),
    )
    .join("../tests/fixtures")
}
