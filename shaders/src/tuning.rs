//! What kind of adapter the kernels are laid out for, decided in one place.
//!
//! A read of workgroup memory costs a software adapter (lavapipe, SwiftShader) far more than a register, and it runs its workgroups
//! one after the other. So there an invocation gets several rows, a product large tiles and a lattice with a barrier a frame few
//! invocations; hardware gets the plain layout, of many small invocations. Results are the same; the tests run both.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::features::Plane;

use crate::environment::{UnknownChoice, chosen};

/// Variable of the environment that [`Tuning::forced`] reads: `hardware` or `software`.
pub const TUNING: &str = "CALDERA_TUNING";

/// A kind of adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuning {
    /// Many invocations at work, few registers each: one or two rows an invocation.
    Hardware,
    /// One invocation after the other: as many rows each as compile in acceptable time.
    Software,
}

/// 0 nothing, else one more than the kind.
static FORCED: AtomicU8 = AtomicU8::new(0);

/// Lays kernels out for this kind of adapter from now on, process-wide, whatever the adapter is; `None` looks at the adapter again.
///
/// A browser does not let CubeCL see what the adapter is, so the page, which knows, says it here.
pub fn force_tuning(tuning: Option<Tuning>) {
    let number = match tuning {
        None => 0,
        Some(Tuning::Hardware) => 1,
        Some(Tuning::Software) => 2,
    };
    FORCED.store(number, Ordering::Relaxed);
}

impl Tuning {
    /// What the environment names.
    pub(crate) fn named() -> Result<Option<Self>, UnknownChoice> {
        let choices = [("hardware", Self::Hardware), ("software", Self::Software)];
        chosen(TUNING, &choices)
    }

    /// What was forced by [`force_tuning`], else by the environment.
    pub fn forced() -> Option<Self> {
        static NAMED: OnceLock<Option<Tuning>> = OnceLock::new();
        match FORCED.load(Ordering::Relaxed) {
            1 => Some(Self::Hardware),
            2 => Some(Self::Software),
            _ => *NAMED.get_or_init(|| Self::named().ok().flatten()),
        }
    }

    /// The kind that kernels on the device of `tensor` are laid out for.
    pub(crate) fn of(tensor: &CubeTensor) -> Self {
        let looked = || {
            // CubeCL offers plane operations natively on everything but adapters of type CPU, and nowhere in a browser.
            let planes = &tensor.client.properties().features.plane;
            match planes.contains(Plane::Ops) || cfg!(target_family = "wasm") {
                true => Self::Hardware,
                false => Self::Software,
            }
        };
        Self::forced().unwrap_or_else(looked)
    }
}

/// Runs a test in a layout, one such test at a time. Other tests may meanwhile run in it: their results are the same.
#[cfg(test)]
pub(crate) fn in_layout(tuning: Tuning, test: impl FnOnce()) {
    static ONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = ONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    force_tuning(Some(tuning));
    test();
    force_tuning(None);
}
