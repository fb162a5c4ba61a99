//! What a model promises beside the numbers of the stored cases.

use std::path::PathBuf;

use burn::tensor::{Device, Tensor};
use caldera_shaders::tolerance::relative_rms;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::layers::Table;
use crate::{ConvertOptions, StoredTensor, convert};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package lies"))
        .join("../tests/fixtures/models")
        .join(name)
}

fn load(name: &str) -> TextModel {
    TextModel::load(&fixture(name), &Device::flex()).unwrap()
}

fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

fn sample(length: usize, vocab: u32, salt: u32) -> Vec<u32> {
    (0..length as u32)
        .map(|i| 5 + (i * 37 + salt * 101 + i * i) % (vocab - 5))
        .collect()
}

#[test]
fn saving_gives_the_same_names_and_bytes() {
    for name in ["bert-tiny", "bert-tiny-mean", "roberta-tiny"] {
        let stored = Checkpoint::read(&fixture(name)).unwrap();
        let saved = load(name).to_checkpoint().unwrap();
        assert!(
            stored.tensors.keys().eq(saved.tensors.keys()),
            "{name}: other names"
        );
        assert!(stored.tensors == saved.tensors, "{name}: other values");
        assert_eq!(stored.tokenizer, saved.tokenizer);
        for (key, value) in stored.config.as_object().unwrap() {
            assert_eq!(
                Some(value),
                saved.config.get(key),
                "{name}: config.json {key}"
            );
        }
    }
}

#[test]
fn the_number_of_parameters_is_that_of_pytorch() {
    for (name, count) in [
        ("bert-tiny", 35330),
        ("bert-tiny-mean", 35264),
        ("roberta-tiny", 39235),
    ] {
        assert_eq!(load(name).num_parameters(), count);
    }
}

#[test]
fn bad_checkpoints_are_refused_by_file_and_tensor() {
    let good = Checkpoint::read(&fixture("bert-tiny")).unwrap();
    let build = |c: &Checkpoint| {
        TextModel::from_checkpoint(c, &Device::flex())
            .unwrap_err()
            .to_string()
    };
    const NAME: &str = "bert.encoder.layer.1.attention.self.value.weight";

    let mut bad = good.clone();
    bad.tensors.remove(NAME);
    let message = build(&bad);
    assert!(
        message.contains(NAME)
            && message.contains("model.safetensors")
            && message.contains("[32, 32]"),
        "{message}"
    );

    let mut bad = good.clone();
    bad.tensors.insert(
        NAME.into(),
        StoredTensor::from_f32(vec![32, 31], &[0.0; 992]),
    );
    let message = build(&bad);
    assert!(
        message.contains(NAME) && message.contains("[32, 31]"),
        "{message}"
    );

    let mut bad = good.clone();
    bad.tensors.get_mut(NAME).unwrap().dtype = crate::StoredDtype::I32;
    assert!(build(&bad).contains("expected floats"));

    for (key, value) in [
        ("model_type", json!("t5")),
        ("hidden_act", json!("swish")),
        ("position_embedding_type", json!("relative_key")),
        ("num_attention_heads", json!(5)),
        ("hidden_size", json!("wide")),
        ("vocab_size", json!(null)),
        ("hidden_dropout_prob", json!(1.5)),
        ("id2label", json!({"0": "a", "2": "b"})),
        ("caldera", json!({"mixer": "hyena"})),
        ("caldera", json!({"mixer": "linformer", "k": 0})),
    ] {
        let mut bad = good.clone();
        bad.config[key] = value;
        let message = build(&bad);
        assert!(
            message.contains("config.json") && message.contains(key),
            "{message}"
        );
    }
}

#[test]
fn unknown_keys_of_the_configuration_are_kept() {
    let mut stored = Checkpoint::read(&fixture("bert-tiny")).unwrap();
    stored.config["my_key"] = json!({"a": [1, 2]});
    stored.config["caldera"] = json!({"mixer": "softmax", "run": {"seed": 3}});
    let model = TextModel::from_checkpoint(&stored, &Device::flex()).unwrap();
    let saved = model.config.to_value();
    assert_eq!(saved["my_key"], json!({"a": [1, 2]}));
    assert_eq!(saved["caldera"]["run"]["seed"], 3);
    let again: TextConfig =
        serde_json::from_value(serde_json::to_value(&model.config).unwrap()).unwrap();
    assert_eq!(again, model.config);
}

#[test]
fn inputs_are_checked() {
    let (bert, roberta) = (load("bert-tiny"), load("roberta-tiny"));
    assert!(bert.validate(&[vec![1, 2, 199]]).is_ok());
    for (model, ids, part) in [
        (&bert, vec![], "at least one token"),
        (&bert, vec![3, 200], "found 200 at position 1"),
        (&bert, vec![3; 65], "at most 64 tokens"),
        (&roberta, vec![3; 65], "at most 64 tokens"),
    ] {
        let message = model.validate(&[vec![7], ids]).unwrap_err().to_string();
        assert!(
            message.starts_with("sample 1: ") && message.contains(part),
            "{message}"
        );
    }
    assert!(roberta.validate(&[vec![3; 64]]).is_ok());
    assert!(bert.validate_type_ids(&[vec![0, 1]]).is_ok());
    assert!(bert.validate_type_ids(&[vec![0, 2]]).is_err());
}

#[test]
fn a_longest_sample_runs() {
    for name in ["bert-tiny", "roberta-tiny"] {
        let model = load(name);
        let student = convert(&model, &ConvertOptions::linformer(8, Sharing::None, 1)).unwrap();
        for model in [model, student] {
            let batch = TextBatch::new(
                &[sample(64, 200, 1)],
                None,
                model.config.pad_token_id,
                &model.device(),
            );
            let out = model.forward(&batch, &ForwardOptions::default());
            assert!(values(out.logits.unwrap()).iter().all(|x| x.is_finite()));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// A sample alone gives what it gives in a padded batch, whatever the padding holds.
    #[test]
    fn padding_changes_nothing(lengths in prop::collection::vec(1usize..40, 1..4), roberta: bool, linformer: bool) {
        let mut model = load(if roberta { "roberta-tiny" } else { "bert-tiny" });
        if linformer {
            model = convert(&model, &ConvertOptions::linformer(6, Sharing::Kv, 3)).unwrap();
        }
        let ids: Vec<_> = lengths.iter().enumerate().map(|(i, &n)| sample(n, 190, i as u32)).collect();
        let options = ForwardOptions { hidden_states: true, dropout: false };
        let run = |ids: &[Vec<u32>], padding: u32| {
            let batch = TextBatch::new(ids, None, padding, &model.device());
            model.forward(&batch, &options)
        };
        // RoBERTa numbers positions by what is padding, so only BERT may be padded with anything.
        let together = run(&ids, if roberta { 1 } else { 17 });
        for (i, one) in ids.iter().enumerate() {
            let alone = run(std::slice::from_ref(one), model.config.pad_token_id);
            for (a, t) in alone.hidden_states.iter().zip(&together.hidden_states) {
                let [_, n, h] = a.dims();
                let part = t.clone().slice([i..i + 1, 0..n, 0..h]);
                let apart = relative_rms(&values(part), &values(a.clone()));
                prop_assert!(apart < 1e-5, "sample {i}: {apart}");
            }
            let classes = model.config.num_labels();
            let logits = together.logits.clone().unwrap().slice([i..i + 1, 0..classes]);
            prop_assert!(relative_rms(&values(logits), &values(alone.logits.unwrap())) < 1e-5);
        }
    }
}

#[test]
fn hidden_states_are_kept_on_request_only() {
    let model = load("bert-tiny");
    let batch = TextBatch::new(&[sample(9, 200, 2)], None, 0, &model.device());
    assert!(
        model
            .forward(&batch, &ForwardOptions::default())
            .hidden_states
            .is_empty()
    );
    let options = ForwardOptions {
        hidden_states: true,
        dropout: false,
    };
    let out = model.forward(&batch, &options);
    assert_eq!(out.hidden_states.len(), 4);
    assert_eq!(
        values(out.hidden_states[3].clone()),
        values(out.last_hidden_state)
    );
}

#[test]
fn dropout_follows_the_seed() {
    let _alone = crate::layers::SEEDED.lock().unwrap();
    let model = load("bert-tiny");
    let batch = TextBatch::new(&[sample(30, 200, 2)], None, 0, &model.device());
    let run = |seed: u64, dropout: bool| {
        model.device().seed(seed);
        values(
            model
                .forward(
                    &batch,
                    &ForwardOptions {
                        hidden_states: false,
                        dropout,
                    },
                )
                .last_hidden_state,
        )
    };
    assert_eq!(run(1, true), run(1, true));
    assert_ne!(run(1, true), run(2, true));
    assert_ne!(run(1, true), run(1, false));
    assert_eq!(run(1, false), run(2, false));
    // A tenth of the elements goes, the others grow by as much.
    model.device().seed(5);
    let kept = values(crate::layers::dropout(
        Tensor::<2>::ones([100, 100], &model.device()),
        0.1,
    ));
    let gone = kept.iter().filter(|&&x| x == 0.0).count();
    assert!((800..1200).contains(&gone), "{gone} of 10000 dropped");
    assert!(
        kept.iter()
            .all(|&x| x == 0.0 || (x - 1.0 / 0.9).abs() < 1e-6)
    );
}

#[test]
fn fresh_models_follow_the_seed_and_the_initialiser() {
    let config = load("roberta-tiny").config;
    let (a, b) = (
        TextModel::random(config.clone(), 4, &Device::flex()),
        TextModel::random(config.clone(), 4, &Device::flex()),
    );
    let c = TextModel::random(config, 5, &Device::flex())
        .to_checkpoint()
        .unwrap();
    let (a, b) = (a.to_checkpoint().unwrap(), b.to_checkpoint().unwrap());
    assert!(a.tensors == b.tensors && a.tensors != c.tensors);
    let stored = Checkpoint::read(&fixture("roberta-tiny")).unwrap();
    assert!(stored.tensors.keys().eq(a.tensors.keys()));
    for (name, tensor) in &a.tensors {
        let v = tensor.to_f32().unwrap();
        if name.ends_with("LayerNorm.weight") {
            assert!(v.iter().all(|&x| x == 1.0));
        } else if name.ends_with("bias") {
            assert!(v.iter().all(|&x| x == 0.0));
        } else {
            let rms = (v.iter().map(|x| (x * x) as f64).sum::<f64>() / v.len() as f64).sqrt();
            assert!((0.012..0.028).contains(&rms), "{name}: {rms}");
        }
    }
    let words = a.tensors["roberta.embeddings.word_embeddings.weight"]
        .to_f32()
        .unwrap();
    assert!(
        words[32..64].iter().all(|&x| x == 0.0),
        "the padding row starts at 0"
    );
}

#[test]
fn a_bare_encoder_takes_a_head() {
    let bare = load("bert-tiny-mean");
    let labels = vec!["no".to_string(), "perhaps".to_string(), "yes".to_string()];
    let model = bare.clone().with_head(3, Some(labels.clone()), 9);
    let batch = TextBatch::new(&[sample(7, 200, 0)], None, 0, &model.device());
    let out = model.forward(&batch, &ForwardOptions::default());
    assert_eq!(out.logits.unwrap().dims(), [1, 3]);
    let plain = bare.forward(&batch, &ForwardOptions::default());
    assert_eq!(
        values(plain.last_hidden_state),
        values(out.last_hidden_state)
    );
    let saved = model.to_checkpoint().unwrap();
    assert_eq!(
        saved.config["architectures"][0],
        "BertForSequenceClassification"
    );
    assert_eq!(saved.config["id2label"]["1"], "perhaps");
    assert!(
        saved.tensors.contains_key("bert.pooler.dense.weight")
            && saved.tensors.contains_key("classifier.bias")
    );
    let again = TextModel::from_checkpoint(&saved, &Device::flex()).unwrap();
    assert_eq!(again.config.labels, labels);
}

#[test]
fn training_sees_every_parameter_but_padding_rows() {
    let model = load("roberta-tiny").trainable();
    assert!(model.device().is_autodiff());
    let ids = [sample(9, 200, 1), sample(4, 200, 2)];
    let batch = TextBatch::new(&ids, None, 1, &model.device());
    let options = ForwardOptions {
        hidden_states: true,
        dropout: false,
    };
    // A loss over all positions, padding included, as a careless one would be.
    let out = model.forward(&batch, &options);
    let loss = out.hidden_states[0].clone().square().sum() + out.logits.unwrap().square().sum();
    let gradients = loss.backward();
    model.visit(&mut |name, parameter| {
        let gradient = parameter
            .grad(&gradients)
            .unwrap_or_else(|| panic!("{name}: no gradient"));
        let gradient = values(gradient);
        let shape = parameter.shape();
        assert_eq!(gradient.len(), parameter.num_elements());
        if name.ends_with("word_embeddings.weight") || name.ends_with("position_embeddings.weight")
        {
            let width = shape[1];
            assert!(
                gradient[width..2 * width].iter().all(|&g| g == 0.0),
                "{name}: gradient of the padding row"
            );
            assert!(gradient[2 * width..].iter().any(|&g| g != 0.0));
        }
    });
    let frozen = model.frozen();
    assert!(!frozen.device().is_autodiff());
}

/// The model with its token table in blocks of so many rows, as larger tables lie.
fn in_blocks(mut model: TextModel, rows: &[usize]) -> TextModel {
    let mut blocks = Vec::new();
    model.visit(&mut |name, parameter| {
        if let ParameterRef::Two(table) = parameter
            && name.ends_with("word_embeddings.weight")
        {
            blocks = table.clone().split_with_sizes(rows.to_vec(), 0);
        }
    });
    model.encoder.embeddings.words = Table::new(blocks);
    model
}

#[test]
fn a_token_table_in_blocks_is_the_same_table() {
    let ids = [sample(9, 200, 1), vec![4, 0, 199, 70, 71, 69]];
    // Logits, and the gradient of the table; the padding token's row, which gets none, lies in the first block.
    let run = |model: TextModel| {
        let model = model.trainable();
        let batch = TextBatch::new(&ids, None, 1, &model.device());
        let out = model.forward(&batch, &ForwardOptions::default());
        let logits = out.logits.unwrap();
        let gradients = logits.clone().square().sum().backward();
        let mut of_table = Vec::new();
        model.visit(&mut |name, parameter| {
            if name.contains("word_embeddings.weight") {
                of_table.extend(values(parameter.grad(&gradients).unwrap()));
            }
        });
        (values(logits), of_table)
    };
    let whole = load("roberta-tiny");
    let rows = whole.config.vocab_size;
    let split = in_blocks(whole.clone(), &[70, 1, rows - 71]);
    let saved = |model: &TextModel| model.to_checkpoint().unwrap().tensors;
    assert!(saved(&split) == saved(&whole));
    assert_eq!(run(split), run(whole));
}

#[test]
fn parameters_can_be_replaced() {
    let mut model = load("bert-tiny").trainable();
    model.visit_mut(&mut |_, mut parameter| {
        let twice = parameter.as_ref().flat().mul_scalar(2.0);
        parameter.set_flat(twice);
    });
    let mut kept = true;
    model.visit(&mut |_, parameter| {
        kept &= match parameter {
            ParameterRef::One(t) => t.is_require_grad(),
            ParameterRef::Two(t) => t.is_require_grad(),
            ParameterRef::Three(t) => t.is_require_grad(),
        }
    });
    assert!(kept, "a replaced parameter is trained on");
    let (old, new) = (
        Checkpoint::read(&fixture("bert-tiny")).unwrap(),
        model.to_checkpoint().unwrap(),
    );
    let [old, new] = [old, new].map(|c| c.tensors["classifier.weight"].to_f32().unwrap());
    assert!(old.iter().zip(&new).all(|(a, b)| 2.0 * a == *b));
}
