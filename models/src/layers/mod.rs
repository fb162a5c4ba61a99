//! What models of every family are made of: layers, and how their parameters are named, made and walked.

mod activation;
mod dropout;
mod linear;
mod norm;
mod packed;
mod parameters;
mod parts;
mod saved;
mod source;
mod table;

pub use activation::Activation;
#[cfg(test)]
pub(crate) use dropout::SEEDED;
pub(crate) use dropout::dropout;
pub(crate) use linear::Linear;
pub(crate) use norm::{LayerNorm, RmsNorm};
pub(crate) use packed::Packed;
pub use parameters::{ParameterMut, ParameterRef, Parameters};
pub(crate) use parameters::{Walk, dotted, parameters};
pub(crate) use parts::Parts;
pub(crate) use saved::stored_tensors;
pub(crate) use source::{Init, Random, Source, Stored, Tensors, Values, normals, stored_name};
pub use table::BINDING_BYTES;
pub(crate) use table::Table;
