//! The reference cases `ops/reverse-time/*`.

use burn::tensor::Device;

use super::reverse_padded;
use crate::fixture::{Case, CaseReport, Comparer, FixtureError};

/// The output and its gradient on a device with autodiff, padding included: it is zero by definition.
pub(crate) async fn check_case(case: &Case, device: &Device) -> Result<CaseReport, FixtureError> {
    let x = case.tensor::<3>("in.x", device)?.require_grad();
    let y = reverse_padded(x.clone(), &case.lengths()?);
    let mut comparer = Comparer::new(case, device);
    comparer.compare("out.y", y.clone().inner()).await;
    let gradients = (y * case.tensor::<3>("up.y", device)?).sum().backward();
    match x.grad(&gradients) {
        Some(gradient) => comparer.compare("grad.x", gradient).await,
        None => comparer.fail("grad.x: no gradient".into()),
    }
    Ok(comparer.finish())
}
