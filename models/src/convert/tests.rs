//! What conversion keeps, what it adds, and how far from the teacher the student starts.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use caldera_shaders::tolerance::relative_rms;

use super::*;
use crate::{ForwardOptions, TextBatch, WeightDtype};

fn teacher(name: &str) -> TextModel {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures/models")
        .join(name);
    TextModel::load(&dir, &Device::flex()).unwrap()
}

fn hidden(model: &TextModel, ids: &[Vec<u32>]) -> Vec<Vec<f64>> {
    let batch = TextBatch::new(ids, None, model.config.pad_token_id, &model.device());
    let options = ForwardOptions {
        hidden_states: true,
        dropout: false,
    };
    let states = model.forward(&batch, &options).hidden_states;
    states
        .into_iter()
        .map(|x: Tensor<3>| x.into_data().iter::<f64>().collect())
        .collect()
}

fn sample(length: usize, salt: u32) -> Vec<u32> {
    (0..length as u32)
        .map(|i| 5 + (i * 37 + salt * 101 + i * i) % 190)
        .collect()
}

fn options(k: usize, init: ProjectionInit, reference: usize) -> ConvertOptions {
    ConvertOptions {
        init,
        reference_length: Some(reference),
        ..ConvertOptions::linformer(k, Sharing::None, 7)
    }
}

#[test]
fn every_sharing_goes_out_and_comes_back() {
    for name in ["bert-tiny", "bert-tiny-mean", "roberta-tiny"] {
        let teacher = teacher(name);
        let before = teacher.to_checkpoint().unwrap();
        for (sharing, added) in [(Sharing::None, 6), (Sharing::Kv, 3), (Sharing::Layer, 1)] {
            let student = convert(&teacher, &ConvertOptions::linformer(5, sharing, 1)).unwrap();
            let after = student.to_checkpoint().unwrap();
            assert_eq!(
                after.tensors.len(),
                before.tensors.len() + added,
                "{name} {sharing:?}"
            );
            for (name, tensor) in &before.tensors {
                assert!(after.tensors[name] == *tensor, "{name} changed");
            }
            let rows = teacher.config.max_position_embeddings;
            for (name, tensor) in after
                .tensors
                .iter()
                .filter(|(name, _)| name.contains("proj_"))
            {
                assert_eq!(tensor.shape, [rows, 5], "{name}");
            }
            let dir = tempfile::tempdir().unwrap();
            after.write(dir.path(), WeightDtype::F32).unwrap();
            let again = TextModel::load(dir.path(), &Device::flex()).unwrap();
            assert_eq!(again.config, student.config);
            let ids = [sample(11, 1), sample(6, 2)];
            assert_eq!(hidden(&again, &ids), hidden(&student, &ids));
        }
    }
}

#[test]
fn names_are_those_of_the_paper() {
    let student = convert(
        &teacher("roberta-tiny"),
        &ConvertOptions::linformer(4, Sharing::None, 1),
    )
    .unwrap();
    let saved = student.to_checkpoint().unwrap();
    assert!(
        saved
            .tensors
            .contains_key("roberta.encoder.layer.2.attention.self.proj_k")
    );
    assert!(
        saved
            .tensors
            .contains_key("roberta.encoder.layer.2.attention.self.proj_v")
    );
    assert_eq!(saved.config["caldera"]["mixer"], "linformer");
    assert_eq!(saved.config["caldera"]["k"], 4);
    assert_eq!(saved.config["caldera"]["sharing"], "none");
    assert_eq!(saved.config["caldera"]["init"], "normal");
    let bare = convert(
        &teacher("bert-tiny-mean"),
        &ConvertOptions::linformer(4, Sharing::None, 1),
    )
    .unwrap();
    assert!(
        bare.to_checkpoint()
            .unwrap()
            .tensors
            .contains_key("encoder.layer.0.attention.self.proj_k")
    );
}

#[test]
fn normal_projections_have_unit_variance_and_follow_the_seed() {
    let make = |seed| {
        let student = convert(
            &teacher("bert-tiny"),
            &ConvertOptions::linformer(32, Sharing::None, seed),
        )
        .unwrap();
        let tensors = student.to_checkpoint().unwrap().tensors;
        ["proj_k", "proj_v"].map(|p| {
            tensors[&format!("bert.encoder.layer.0.attention.self.{p}")]
                .to_f32()
                .unwrap()
        })
    };
    let ([k, v], [same, _], [other, _]) = (make(1), make(1), make(2));
    assert!(k == same && k != other && k != v);
    let square = k.iter().map(|x| (x * x) as f64).sum::<f64>() / k.len() as f64;
    assert!((square - 1.0).abs() < 0.1, "{square}");
}

#[test]
fn options_are_checked() {
    let teacher = teacher("bert-tiny");
    assert!(convert(&teacher, &ConvertOptions::linformer(0, Sharing::None, 1)).is_err());
    assert!(convert(&teacher, &options(4, ProjectionInit::Segments, 0)).is_err());
    let student = convert(&teacher, &ConvertOptions::linformer(4, Sharing::None, 1)).unwrap();
    let message = convert(&student, &ConvertOptions::linformer(4, Sharing::None, 1))
        .unwrap_err()
        .to_string();
    assert!(message.contains("linformer"), "{message}");
}

#[test]
fn segments_of_the_reference_length_start_from_the_teachers_attention() {
    for name in ["bert-tiny", "roberta-tiny"] {
        let teacher = teacher(name);
        for (k, length) in [(12, 12), (24, 12), (48, 12)] {
            let student = convert(&teacher, &options(k, ProjectionInit::Segments, length)).unwrap();
            let ids = [sample(length, 1), sample(length, 2)];
            for (s, t) in hidden(&student, &ids).iter().zip(&hidden(&teacher, &ids)) {
                assert!(relative_rms(s, t) < 1e-5, "{name}, k {k}, {length} tokens");
            }
        }
    }
}
