//! Runs a reference case of linear attention.

use burn::tensor::Device;

use super::linear_attention;
use crate::fixture::{Case, CaseReport, Comparer, FixtureError};

/// y, both sums and every gradient. Cases hold `[B, H, L, P]`, the operator takes `[B, L, H, P]`.
pub(crate) async fn check_case(case: &Case, device: &Device) -> Result<CaseReport, FixtureError> {
    let leaf = |name: &str| Ok::<_, FixtureError>(case.tensor::<4>(name, device)?.require_grad());
    let leaves = [leaf("in.q")?, leaf("in.k")?, leaf("in.v")?];
    let lengths = case.lengths()?;
    let causal = case.facts()["causal"].as_bool().unwrap_or(false);
    let [query, key, value] = leaves.clone().map(|tensor| tensor.swap_dims(1, 2));
    let out = linear_attention(query, key, value, &lengths, causal);
    let y = out.y.swap_dims(1, 2);
    let mut comparer = Comparer::new(case, device);
    comparer.compare("out.y", y.clone().inner()).await;
    comparer.compare("out.kv", out.kv.inner()).await;
    comparer.compare("out.z", out.z.inner()).await;
    let gradients = (y * case.tensor::<4>("up.y", device)?).sum().backward();
    for (name, leaf) in ["grad.q", "grad.k", "grad.v"].into_iter().zip(&leaves) {
        match leaf.grad(&gradients) {
            Some(gradient) => comparer.compare(name, gradient).await,
            None => comparer.fail(format!("{name}: no gradient")),
        }
    }
    Ok(comparer.finish())
}
