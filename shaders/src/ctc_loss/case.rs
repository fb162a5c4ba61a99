//! The reference cases `ops/ctc-loss/*`.

use burn::tensor::Device;

use super::try_ctc_loss;
use crate::Lengths;
use crate::fixture::{Case, CaseReport, Comparer, FixtureError};

/// The losses and their gradient on a device with autodiff, padded frames included: it is zero there by definition.
pub(crate) async fn check_case(case: &Case, device: &Device) -> Result<CaseReport, FixtureError> {
    let logits = case.tensor::<3>("in.logits", device)?.require_grad();
    let frames = case.ints("in.frames")?.1;
    let frames = Lengths::new(frames.into_iter().map(|n| n as u32).collect());
    let (shape, padded) = case.ints("in.targets")?;
    // What follows a target is negative.
    let targets: Vec<Vec<u32>> = padded
        .chunks(shape[1].max(1))
        .map(|row| {
            row.iter()
                .filter_map(|&id| u32::try_from(id).ok())
                .collect()
        })
        .collect();
    let blank = case.fact_usize("blank")? as u32;
    let mut comparer = Comparer::new(case, device);
    match try_ctc_loss(logits.clone(), &frames, &targets, blank) {
        Ok(y) => {
            comparer.compare("out.y", y.clone().inner()).await;
            let gradients = (y * case.tensor::<1>("up.y", device)?).sum().backward();
            match logits.grad(&gradients) {
                Some(gradient) => comparer.compare("grad.logits", gradient).await,
                None => comparer.fail("grad.logits: no gradient".into()),
            }
        }
        Err(error) => comparer.fail(error.to_string()),
    }
    Ok(comparer.finish())
}
