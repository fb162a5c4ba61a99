//! Dropout.

use burn::tensor::{Distribution, Tensor};

/// Zeroes elements with probability `probability` and scales the rest up; the mask comes from the device's
/// random state, so `Device::seed` fixes it.
pub(crate) fn dropout<const D: usize>(x: Tensor<D>, probability: f64) -> Tensor<D> {
    if probability == 0.0 {
        return x;
    }
    let keep = 1.0 - probability;
    let mask = x
        .random_like(Distribution::Bernoulli(keep))
        .mul_scalar(1.0 / keep);
    x * mask
}

/// Held by tests that seed a device: its random state belongs to the process.
#[cfg(test)]
pub(crate) static SEEDED: std::sync::Mutex<()> = std::sync::Mutex::new(());
