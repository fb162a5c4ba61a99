//! The reference cases of the scan.

use burn::tensor::{Device, Tensor};

use super::{SsdInput, ssd};
use crate::fixture::{Case, CaseReport, Comparer, FixtureError};

/// Runs a case of `ops/mamba2-ssd`: y, the final state and every gradient.
pub(crate) async fn check_case(case: &Case, device: &Device) -> Result<CaseReport, FixtureError> {
    fn leaf<const D: usize>(
        case: &Case,
        name: &str,
        device: &Device,
    ) -> Result<Tensor<D>, FixtureError> {
        Ok(case.tensor::<D>(name, device)?.require_grad())
    }
    let input = SsdInput {
        x: leaf(case, "in.x", device)?,
        dt: leaf(case, "in.dt", device)?,
        a: leaf(case, "in.A", device)?,
        b: leaf(case, "in.B", device)?,
        c: leaf(case, "in.C", device)?,
        d: leaf(case, "in.D", device)?,
        dt_bias: leaf(case, "in.dt_bias", device)?,
        initial_state: None,
    };
    let out = ssd(input.clone());
    let mut comparer = Comparer::new(case, device);
    comparer.compare("out.y", out.y.clone().inner()).await;
    let state = out.final_state.inner();
    comparer.compare("out.final_state", state).await;
    let gradients = (out.y * case.tensor::<4>("up.y", device)?).sum().backward();
    match input.dt.grad(&gradients) {
        Some(gradient) => comparer.compare("grad.dt", gradient).await,
        None => comparer.fail("grad.dt: no gradient".into()),
    }
    for (name, tensor) in [
        ("grad.x", &input.x),
        ("grad.B", &input.b),
        ("grad.C", &input.c),
    ] {
        match tensor.grad(&gradients) {
            Some(gradient) => comparer.compare(name, gradient).await,
            None => comparer.fail(format!("{name}: no gradient")),
        }
    }
    for (name, tensor) in [
        ("grad.A", &input.a),
        ("grad.D", &input.d),
        ("grad.dt_bias", &input.dt_bias),
    ] {
        match tensor.grad(&gradients) {
            Some(gradient) => comparer.compare(name, gradient).await,
            None => comparer.fail(format!("{name}: no gradient")),
        }
    }
    Ok(comparer.finish())
}
