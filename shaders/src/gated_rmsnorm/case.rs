//! The reference cases of the gated RMS normalisation.

use burn::tensor::Device;

use super::gated_rmsnorm;
use crate::fixture::{Case, CaseReport, Comparer, FixtureError};

/// Runs a case of `ops/gated-rmsnorm`: y and every gradient.
pub(crate) async fn check_case(case: &Case, device: &Device) -> Result<CaseReport, FixtureError> {
    let [x, z] = [
        case.tensor::<3>("in.x", device)?,
        case.tensor("in.z", device)?,
    ]
    .map(|tensor| tensor.require_grad());
    let weight = case.tensor::<1>("in.weight", device)?.require_grad();
    let groups = case.fact_usize("groups")?;
    let eps = case.facts()["eps"].as_f64().unwrap_or(1e-5);
    let y = gated_rmsnorm(x.clone(), z.clone(), weight.clone(), groups, eps);
    let mut comparer = Comparer::new(case, device);
    comparer.compare("out.y", y.clone().inner()).await;
    let gradients = (y * case.tensor::<3>("up.y", device)?).sum().backward();
    for (name, tensor) in [("grad.x", &x), ("grad.z", &z)] {
        match tensor.grad(&gradients) {
            Some(gradient) => comparer.compare(name, gradient).await,
            None => comparer.fail(format!("{name}: no gradient")),
        }
    }
    match weight.grad(&gradients) {
        Some(gradient) => comparer.compare("grad.weight", gradient).await,
        None => comparer.fail("grad.weight: no gradient".into()),
    }
    Ok(comparer.finish())
}
