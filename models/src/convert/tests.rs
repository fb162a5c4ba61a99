//! What conversion keeps, what it adds, and how far from the teacher the student starts.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use caldera_shaders::tolerance::relative_rms;

use super::*;
use crate::{ForwardOptions, TextBatch, WeightDtype};

fn teacher(name: &str) -> TextModel {
    let dir = PathBuf::from(
        std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package lies"),
    )
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

fn segmented(k: usize, typical: usize, longest: usize) -> ConvertOptions {
    ConvertOptions {
        init: ProjectionInit::Segments,
        reference_length: Some(typical),
        longest_length: Some(longest),
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
    assert!(convert(&teacher, &segmented(4, 0, 8)).is_err());
    let student = convert(&teacher, &ConvertOptions::linformer(4, Sharing::None, 1)).unwrap();
    let message = convert(&student, &ConvertOptions::linformer(4, Sharing::None, 1))
        .unwrap_err()
        .to_string();
    assert!(message.contains("linformer"), "{message}");
}

#[test]
fn samples_of_one_length_start_from_the_teachers_own_attention() {
    for name in ["bert-tiny", "roberta-tiny"] {
        let teacher = teacher(name);
        for (k, length) in [(12, 12), (24, 12), (48, 12)] {
            let student = convert(&teacher, &segmented(k, length, length)).unwrap();
            let ids = [sample(length, 1), sample(length, 2)];
            for (s, t) in hidden(&student, &ids).iter().zip(&hidden(&teacher, &ids)) {
                assert!(relative_rms(s, t) < 1e-5, "{name}, k {k}, {length} tokens");
            }
        }
    }
}

#[test]
fn samples_of_many_lengths_start_much_closer_with_segments() {
    let lengths = [7, 12, 18, 22, 26, 31, 38];
    for (name, k) in [("bert-tiny", 32), ("bert-tiny", 16), ("roberta-tiny", 64)] {
        let teacher = teacher(name);
        let apart = |options: ConvertOptions| {
            let student = convert(&teacher, &options).unwrap();
            let (mut got, mut want) = (Vec::new(), Vec::new());
            for (i, &n) in lengths.iter().enumerate() {
                let ids = [sample(n, i as u32)];
                got.extend(hidden(&student, &ids).pop().unwrap());
                want.extend(hidden(&teacher, &ids).pop().unwrap());
            }
            relative_rms(&got, &want)
        };
        let normal = apart(ConvertOptions::linformer(k, Sharing::None, 7));
        let segments = apart(segmented(k, 22, 40));
        println!(
            "{name}, k {k}: last hidden state off by {normal:.3} (normal), {segments:.3} (segments)"
        );
        assert!(
            segments < 0.6 * normal,
            "{name}, k {k}: normal {normal}, segments {segments}"
        );
    }
}

#[test]
fn slots_pool_neighbours_where_there_are_more_positions() {
    let lengths = SampleLengths {
        typical: 16,
        longest: 16,
    };
    let values = segments(20, 4, lengths);
    let column = |slot: usize| {
        (0..20)
            .map(|row| values[row * 4 + slot])
            .collect::<Vec<_>>()
    };
    let mut expected = [0.0; 20];
    expected[4..8].fill(1.0);
    assert_eq!(column(1), expected);
    // Beyond the reference, positions go where their remainder goes.
    expected.fill(0.0);
    expected[..4].fill(1.0);
    expected[16..].fill(1.0);
    assert_eq!(column(0), expected);
    // Every position has a slot, whatever the sizes.
    for (k, longest) in [(5, 7), (7, 5), (1, 9), (9, 1), (8, 8)] {
        let values = segments(
            20,
            k,
            SampleLengths {
                typical: 1,
                longest,
            },
        );
        assert!(
            values.chunks(k).all(|row| row.iter().any(|&x| x > 0.0)),
            "k {k}, longest {longest}"
        );
    }
}

#[test]
fn lengths_are_completed_from_each_other() {
    let lengths = |reference_length, longest_length| {
        let options = ConvertOptions {
            reference_length,
            longest_length,
            ..ConvertOptions::linformer(8, Sharing::None, 1)
        };
        let SampleLengths { typical, longest } = sample_lengths(&options, 64);
        (typical, longest)
    };
    assert_eq!(lengths(None, None), (32, 64));
    assert_eq!(lengths(Some(20), None), (20, 40));
    assert_eq!(lengths(Some(50), None), (50, 64));
    assert_eq!(lengths(None, Some(30)), (15, 30));
    assert_eq!(lengths(Some(100), Some(300)), (64, 64));
}
