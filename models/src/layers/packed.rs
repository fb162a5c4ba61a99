//! Parameters in the order in which an operator wants them.

use std::sync::OnceLock;

use burn::tensor::Tensor;

use super::{ParameterMut, ParameterRef, Walk};

/// What is made of frozen parameters once and kept until one of the model's parameters may be replaced: an entry of the
/// struct whose parameters it is made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packed<const D: usize>(OnceLock<Tensor<D>>);

impl<const D: usize> Packed<D> {
    /// What `make` gives; kept unless it belongs to a graph.
    pub fn get(&self, make: impl FnOnce() -> Tensor<D>) -> Tensor<D> {
        if let Some(kept) = self.0.get() {
            return kept.clone();
        }
        let made = make();
        if !made.is_autodiff() {
            // Somebody else may have been faster; theirs is the same.
            let _ = self.0.set(made.clone());
        }
        made
    }
}

impl<const D: usize> Walk for Packed<D> {
    fn walk(&self, _: &str, _: &mut dyn FnMut(&str, ParameterRef<'_>)) {}
    fn walk_mut(&mut self, _: &str, _: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        self.0.take();
    }
}
