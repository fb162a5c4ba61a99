//! The stored cases, on the CPU and on wgpu.

use std::path::PathBuf;

use burn::tensor::{Device, DeviceKind};
use caldera_shaders::block_on;
use caldera_shaders::fixture::{Case, CaseReport};

use super::check;

fn report(path: &str, device: &Device) -> CaseReport {
    let root = PathBuf::from(
        std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package lies"),
    )
    .join("../tests/fixtures");
    let case = Case::read(&root, path).unwrap();
    block_on(check(&case, device)).expect("known")
}

fn passes(path: &str, device: &Device) {
    let report = report(path, device);
    for t in &report.tensors {
        println!(
            "{path} {} error {:.3e} tolerance {:.3e}",
            t.tensor, t.error, t.tolerance
        );
    }
    assert!(report.passed && !report.tensors.is_empty(), "{report:#?}");
}

#[test]
fn bert_with_a_head() {
    passes("models/bert-tiny", &Device::flex());
}

#[test]
fn bare_bert() {
    passes("models/bert-tiny-mean", &Device::flex());
}

#[test]
fn roberta_with_a_head() {
    passes("models/roberta-tiny", &Device::flex());
}

#[test]
fn gpt_neox() {
    passes("models/gpt-neox-tiny", &Device::flex());
}

#[test]
fn gpt_neox_without_parallel_residual() {
    passes("models/gpt-neox-tiny-sequential", &Device::flex());
}

#[test]
fn pure_mamba() {
    passes("models/mamba-tiny", &Device::flex());
}

#[test]
fn pure_mamba2() {
    passes("models/mamba2-tiny", &Device::flex());
}

#[test]
fn pure_mamba2_with_groups() {
    passes("models/mamba2-tiny-groups", &Device::flex());
}

#[test]
fn wav2vec2_with_a_group_norm() {
    passes("models/wav2vec2-tiny-group", &Device::flex());
    passes("models/wav2vec2-tiny-group-classifier", &Device::flex());
}

#[test]
fn wav2vec2_with_layer_norms() {
    passes("models/wav2vec2-tiny-layer", &Device::flex());
    passes("models/wav2vec2-tiny-layer-classifier", &Device::flex());
}

#[test]
fn byte_level_bpe() {
    passes("tokenizers/bpe", &Device::flex());
}

#[test]
fn wordpiece() {
    passes("tokenizers/wordpiece", &Device::flex());
}

#[test]
fn models_on_wgpu() {
    let device = Device::wgpu(DeviceKind::DefaultDevice);
    for path in [
        "models/bert-tiny",
        "models/bert-tiny-mean",
        "models/roberta-tiny",
        "models/gpt-neox-tiny",
        "models/gpt-neox-tiny-sequential",
        "models/mamba-tiny",
        "models/mamba2-tiny",
        "models/mamba2-tiny-groups",
        "models/wav2vec2-tiny-group",
        "models/wav2vec2-tiny-group-classifier",
        "models/wav2vec2-tiny-layer",
        "models/wav2vec2-tiny-layer-classifier",
    ] {
        passes(path, &device);
    }
}

#[test]
fn foreign_cases_are_left_to_others() {
    let case = |path: &str, architecture: &str| {
        let json = serde_json::json!({"facts": {"architecture": architecture}}).to_string();
        Case::from_files(path, [("case.json".to_string(), json.into_bytes())].into()).unwrap()
    };
    let check = |case: Case| block_on(check(&case, &Device::flex()));
    assert!(check(case("models/hubert-tiny", "HubertForCTC")).is_none());
    assert!(check(case("ops/linear-attention/tiny", "")).is_none());
    let broken = check(case("models/bert-tiny", "BertModel")).expect("known");
    assert!(!broken.passed && broken.message.unwrap().contains("config.json"));
}

#[test]
fn a_changed_weight_is_noticed() {
    let root = PathBuf::from(
        std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package lies"),
    )
    .join("../tests/fixtures");
    let mut case = Case::read(&root, "models/bert-tiny").unwrap();
    let weights = case.files.get_mut("model.safetensors").unwrap();
    let last = weights.len() - 2;
    weights[last] ^= 0x7f;
    assert!(
        !block_on(check(&case, &Device::flex()))
            .expect("known")
            .passed
    );
}
