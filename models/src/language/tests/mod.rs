//! What a model promises beside the numbers of the stored cases.

mod decoding;
mod files;
mod generation;
mod students;
mod training;

use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData};
use caldera_shaders::tolerance::relative_rms;

use super::*;
use crate::{ForwardOptions, MambaOptions, convert_to_mamba};

const ALL: [&str; 5] = [
    "gpt-neox-tiny",
    "gpt-neox-tiny-sequential",
    "mamba-tiny",
    "mamba2-tiny",
    "mamba2-tiny-groups",
];

const STATES: ForwardOptions = ForwardOptions {
    hidden_states: true,
    dropout: false,
};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package lies"))
        .join("../tests/fixtures/models")
        .join(name)
}

fn load(name: &str) -> LanguageModel {
    LanguageModel::load(&fixture(name), &Device::flex()).unwrap()
}

fn student(name: &str, seed: u64) -> LanguageModel {
    let teacher = load(name);
    convert_to_mamba(&teacher, &MambaOptions::usual(&teacher, seed)).unwrap()
}

/// Both transformers, a student of each, and the pure Mambas.
fn kinds() -> Vec<LanguageModel> {
    let [parallel, sequential, ..] = ALL;
    let mut kinds: Vec<_> = ALL.into_iter().map(load).collect();
    kinds.extend([student(parallel, 3), student(sequential, 4)]);
    kinds
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

fn sample(length: usize, salt: u32) -> Vec<u32> {
    (0..length as u32)
        .map(|i| 2 + (i * 37 + salt * 101 + i * i) % 317)
        .collect()
}

fn ids(rows: &[Vec<u32>], device: &Device) -> Tensor<2, Int> {
    let flat: Vec<i64> = rows.iter().flatten().map(|&id| id as i64).collect();
    let shape = [rows.len(), rows[0].len()];
    Tensor::from_data(TensorData::new(flat, shape), device)
}

/// Logits [B, L, V] of samples of one length.
fn logits(model: &LanguageModel, rows: &[Vec<u32>]) -> Tensor<3> {
    let batch = LanguageBatch::new(rows, 0, &model.device());
    model.forward(&batch, &ForwardOptions::default()).logits
}

fn assert_close<const D: usize>(got: Tensor<D>, want: Tensor<D>, limit: f64, what: &str) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let apart = relative_rms(&values(got), &values(want));
    assert!(apart < limit, "{what}: {apart}");
}
