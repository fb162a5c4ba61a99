//! What training asks of a model, whatever its family.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use burn::tensor::Device;
use caldera_models::{Checkpoint, ParameterMut, ParameterRef, TextModel};

/// A model that can be trained, followed, saved and loaded.
pub trait Model: Clone {
    /// Reads a Hugging Face folder.
    ///
    /// # Errors
    /// The folder cannot be read or holds something else; the message names file and tensor.
    fn load(folder: &Path, device: &Device) -> Result<Self>;
    /// What [`Model::load`] reads.
    ///
    /// # Errors
    /// The device cannot be read.
    fn to_checkpoint(&self) -> Result<Checkpoint>;
    /// With gradients for every parameter.
    fn trainable(self) -> Self;
    /// Outside of any graph.
    fn frozen(self) -> Self;
    /// Calls `visit` with every parameter and its name in the file.
    fn visit(&self, visit: &mut dyn FnMut(&str, ParameterRef<'_>));
    /// The same, to change them.
    fn visit_mut(&mut self, visit: &mut dyn FnMut(&str, ParameterMut<'_>));
    /// Where its parameters lie.
    fn device(&self) -> Device;

    /// Values of all parameters together.
    fn num_parameters(&self) -> usize {
        let mut count = 0;
        self.visit(&mut |_, parameter| count += parameter.num_elements());
        count
    }

    /// Shape of every parameter by name.
    fn parameter_shapes(&self) -> BTreeMap<String, Vec<usize>> {
        let mut shapes = BTreeMap::new();
        self.visit(&mut |name, parameter| {
            shapes.insert(name.to_string(), parameter.shape());
        });
        shapes
    }
}

/// Implements [`Model`] for a model of `caldera_models`, whose own methods have the same names.
macro_rules! model {
    ($model:ty) => {
        impl Model for $model {
            fn load(folder: &Path, device: &Device) -> Result<Self> {
                Ok(<$model>::load(folder, device)?)
            }
            fn to_checkpoint(&self) -> Result<Checkpoint> {
                Ok(<$model>::to_checkpoint(self)?)
            }
            fn trainable(self) -> Self {
                <$model>::trainable(self)
            }
            fn frozen(self) -> Self {
                <$model>::frozen(self)
            }
            fn visit(&self, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
                <$model>::visit(self, visit);
            }
            fn visit_mut(&mut self, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
                <$model>::visit_mut(self, visit);
            }
            fn device(&self) -> Device {
                <$model>::device(self)
            }
        }
    };
}

model!(TextModel);
