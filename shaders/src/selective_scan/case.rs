//! The reference cases `ops/mamba1-scan`.

use burn::tensor::Device;

use super::{ScanInput, selective_scan};
use crate::fixture::{Case, CaseReport, Comparer, FixtureError};

/// Runs a case on a device with autodiff. Cases hold `[B, D, L]` and `[B, N, L]`, the operator takes `[B, L, ..]`.
pub(crate) async fn check_case(case: &Case, device: &Device) -> Result<CaseReport, FixtureError> {
    let sequence = |name: &str| Ok(case.tensor::<3>(name, device)?.require_grad());
    let [u, delta, z] = [sequence("in.u")?, sequence("in.delta")?, sequence("in.z")?];
    let [b, c] = [sequence("in.B")?, sequence("in.C")?];
    let a = case.tensor::<2>("in.A", device)?.require_grad();
    let d = case.tensor::<1>("in.D", device)?.require_grad();
    let delta_bias = case.tensor::<1>("in.delta_bias", device)?.require_grad();
    let mut comparer = Comparer::new(case, device);

    let input = ScanInput {
        u: u.clone().swap_dims(1, 2),
        delta: delta.clone().swap_dims(1, 2),
        a: a.clone(),
        b: b.clone().swap_dims(1, 2),
        c: c.clone().swap_dims(1, 2),
        d: d.clone(),
        z: Some(z.clone().swap_dims(1, 2)),
        delta_bias: delta_bias.clone(),
        initial_state: None,
    };
    let plain = selective_scan(ScanInput {
        z: None,
        ..input.clone()
    });
    let out = selective_scan(input);
    let y = out.y.swap_dims(1, 2);
    comparer.compare("out.y", y.clone().inner()).await;
    let before_gate = plain.y.swap_dims(1, 2).inner();
    comparer.compare("out.y_before_gate", before_gate).await;
    comparer
        .compare("out.last_state", out.last_state.inner())
        .await;

    let gradients = (y * case.tensor::<3>("up.y", device)?).sum().backward();
    macro_rules! compare {
        ($($name:literal: $tensor:ident),*) => {$(
            match $tensor.grad(&gradients) {
                Some(gradient) => comparer.compare($name, gradient).await,
                None => comparer.fail(format!("{}: no gradient", $name)),
            }
        )*};
    }
    compare!(
        "grad.u": u, "grad.delta": delta, "grad.z": z, "grad.A": a, "grad.B": b, "grad.C": c, "grad.D": d,
        "grad.delta_bias": delta_bias
    );
    Ok(comparer.finish())
}
