//! The reference cases `ops/causal-conv1d/*`, which hold `[B, D, L]`.

use burn::tensor::{Device, Tensor};

use super::causal_conv1d;
use crate::fixture::{Case, CaseReport, Comparer, FixtureError};

/// Outputs, states and every gradient on a device with autodiff.
pub(crate) async fn check_case(case: &Case, device: &Device) -> Result<CaseReport, FixtureError> {
    let x = case.tensor::<3>("in.x", device)?.require_grad();
    let weight = case.tensor::<2>("in.weight", device)?.require_grad();
    let bias = case.tensor::<1>("in.bias", device)?.require_grad();
    let input = || x.clone().swap_dims(1, 2);
    let plain = causal_conv1d(input(), weight.clone(), Some(bias.clone()), None, false).y;
    let out = causal_conv1d(input(), weight.clone(), Some(bias.clone()), None, true);
    // A filter of one tap more keeps one input more.
    let [channels, width] = weight.dims();
    let wider = Tensor::zeros([channels, width + 1], device);
    let window = causal_conv1d(input(), wider, None, None, false).state;
    let y = out.y.swap_dims(1, 2);
    let mut comparer = Comparer::new(case, device);
    let plain = plain.swap_dims(1, 2).inner();
    comparer.compare("out.y_before_silu", plain).await;
    comparer.compare("out.y", y.clone().inner()).await;
    comparer.compare("out.final_state", out.state.inner()).await;
    comparer.compare("out.final_window", window.inner()).await;
    let gradients = (y * case.tensor::<3>("up.y", device)?).sum().backward();
    match x.grad(&gradients) {
        Some(gradient) => comparer.compare("grad.x", gradient).await,
        None => comparer.fail("grad.x: no gradient".into()),
    }
    match weight.grad(&gradients) {
        Some(gradient) => comparer.compare("grad.weight", gradient).await,
        None => comparer.fail("grad.weight: no gradient".into()),
    }
    match bias.grad(&gradients) {
        Some(gradient) => comparer.compare("grad.bias", gradient).await,
        None => comparer.fail("grad.bias: no gradient".into()),
    }
    Ok(comparer.finish())
}
