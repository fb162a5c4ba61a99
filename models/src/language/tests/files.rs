//! Folders in and out, row blocks, and files that are wrong.

use serde_json::json;

use super::*;
use crate::{StoredDtype, StoredTensor, WeightDtype};

#[test]
fn saving_gives_the_same_names_and_bytes() {
    for name in ALL {
        let stored = Checkpoint::read(&fixture(name)).unwrap();
        let saved = load(name).to_checkpoint().unwrap();
        assert!(stored.tensors.keys().eq(saved.tensors.keys()), "{name}");
        assert!(stored.tensors == saved.tensors, "{name}: other values");
        assert_eq!(stored.tokenizer, saved.tokenizer);
        for (key, value) in stored.config.as_object().unwrap() {
            assert_eq!(Some(value), saved.config.get(key), "{name}: {key}");
        }
    }
}

#[test]
fn the_number_of_parameters_is_that_of_pytorch() {
    for (name, count) in ALL.into_iter().zip([46176, 46176, 27104, 36560, 38928]) {
        assert_eq!(load(name).num_parameters(), count, "{name}");
    }
}

#[test]
fn folders_go_out_and_come_back() {
    for model in kinds() {
        for (dtype, limit) in [(WeightDtype::F32, 1e-12), (WeightDtype::F16, 5e-3)] {
            let dir = tempfile::tempdir().unwrap();
            let saved = model.to_checkpoint().unwrap();
            saved.write(dir.path(), dtype).unwrap();
            let again = LanguageModel::load(dir.path(), &Device::flex()).unwrap();
            assert_eq!(again.config.mixer, model.config.mixer);
            assert_eq!(again.config.architecture, model.config.architecture);
            let rows = [sample(9, 1), sample(9, 2)];
            let (got, want) = (logits(&again, &rows), logits(&model, &rows));
            assert_close(got, want, limit, &format!("{dtype:?}"));
        }
    }
}

#[test]
fn tables_in_blocks_of_rows_are_the_same_tables() {
    for name in ALL {
        let stored = Checkpoint::read(&fixture(name)).unwrap();
        let whole = load(name).trainable();
        // 320 rows of 32 values: 128 bytes a row, 78 rows in 9999 bytes, five blocks of 64.
        for (bytes, blocks) in [(9999, 5), (128 * 319, 2), (128 * 320, 1), (1, 320)] {
            let model =
                LanguageModel::from_checkpoint_in_blocks(&stored, bytes, &Device::flex()).unwrap();
            let model = model.trainable();
            let mut seen = Vec::new();
            model.visit(&mut |name, parameter| {
                if name.starts_with(model.config.architecture.names().embeddings) {
                    assert!(parameter.num_elements() * 4 <= bytes.max(128), "{name}");
                    seen.push(name.to_string());
                }
            });
            assert_eq!(seen.len(), blocks);
            if blocks == 5 {
                assert!(seen[1].ends_with(".weight[64..128]"), "{seen:?}");
            }
            assert_eq!(model.num_parameters(), whole.num_parameters());
            assert!(model.to_checkpoint().unwrap().tensors == stored.tensors);
            if blocks == 320 {
                continue;
            }
            let rows = [vec![0, 63, 64, 65, 319, 127, 128], sample(7, 3)];
            let run = |model: &LanguageModel| {
                let out = logits(model, &rows);
                let gradients = out.clone().square().mean().backward();
                let mut all = Vec::new();
                model.visit(&mut |_, p| all.extend(values(p.grad(&gradients).unwrap())));
                (values(out), all)
            };
            let ((got, got_grad), (want, want_grad)) = (run(&model), run(&whole));
            assert!(relative_rms(&got, &want) < 1e-6, "{name}, {blocks} blocks");
            assert!(
                relative_rms(&got_grad, &want_grad) < 1e-5,
                "{name}, {blocks} blocks"
            );
        }
    }
}

#[test]
fn bad_checkpoints_are_refused_by_file_and_tensor() {
    let message = |c: &Checkpoint| {
        LanguageModel::from_checkpoint(c, &Device::flex())
            .unwrap_err()
            .to_string()
    };
    for (folder, name) in [
        (
            "gpt-neox-tiny",
            "gpt_neox.layers.1.attention.query_key_value.weight",
        ),
        ("gpt-neox-tiny", "embed_out.weight"),
        ("gpt-neox-tiny", "gpt_neox.embed_in.weight"),
        ("mamba-tiny", "backbone.layers.1.mixer.A_log"),
        ("mamba-tiny", "backbone.layers.0.mixer.conv1d.weight"),
        ("mamba2-tiny", "backbone.layers.0.mixer.dt_bias"),
    ] {
        let good = Checkpoint::read(&fixture(folder)).unwrap();
        let mut bad = good.clone();
        bad.tensors.remove(name);
        let found = message(&bad);
        assert!(
            found.contains(name) && found.contains("model.safetensors"),
            "{found}"
        );

        let mut bad = good.clone();
        bad.tensors
            .insert(name.into(), StoredTensor::from_f32(vec![3, 2], &[0.0; 6]));
        let found = message(&bad);
        assert!(found.contains(name) && found.contains("[3, 2]"), "{found}");

        let mut bad = good;
        bad.tensors.get_mut(name).unwrap().dtype = StoredDtype::I32;
        assert!(message(&bad).contains("expected floats"));
    }
    for (folder, key, value) in [
        ("gpt-neox-tiny", "model_type", json!("gpt2")),
        ("gpt-neox-tiny", "hidden_act", json!("swish")),
        ("gpt-neox-tiny", "num_attention_heads", json!(5)),
        ("gpt-neox-tiny", "hidden_size", json!("wide")),
        ("gpt-neox-tiny", "use_parallel_residual", json!(1)),
        ("gpt-neox-tiny", "rotary_pct", json!(1.5)),
        ("gpt-neox-tiny", "rotary_pct", json!(0.2)),
        (
            "gpt-neox-tiny",
            "rope_scaling",
            json!({"type": "linear", "factor": 2.0}),
        ),
        (
            "gpt-neox-tiny",
            "rope_parameters",
            json!({"rope_type": "yarn"}),
        ),
        ("gpt-neox-tiny", "rope_parameters", json!(7)),
        ("gpt-neox-tiny", "eos_token_id", json!("end")),
        ("gpt-neox-tiny", "hidden_dropout", json!(1.0)),
        ("gpt-neox-tiny", "caldera", json!({"mixer": "hyena"})),
        (
            "gpt-neox-tiny",
            "caldera",
            json!({"mixer": "mamba", "d_conv": 1}),
        ),
        (
            "gpt-neox-tiny",
            "caldera",
            json!({"mixer": "mamba", "d_state": 0}),
        ),
        ("gpt-neox-tiny", "caldera", json!([])),
        ("mamba-tiny", "hidden_act", json!("relu")),
        ("mamba2-tiny", "n_groups", json!(3)),
        ("mamba2-tiny", "time_step_limit", json!([0.001, 0.1])),
        ("mamba2-tiny", "rms_norm", json!(false)),
        ("mamba-tiny", "state_size", json!(-1)),
    ] {
        let mut bad = Checkpoint::read(&fixture(folder)).unwrap();
        bad.config[key] = value;
        let found = message(&bad);
        assert!(
            found.contains("config.json") && found.contains(key),
            "{found}"
        );
    }
}

#[test]
fn both_spellings_of_rotary_positions_are_read() {
    let mut stored = Checkpoint::read(&fixture("gpt-neox-tiny")).unwrap();
    for key in ["rotary_pct", "rotary_emb_base"] {
        stored.config.as_object_mut().unwrap().remove(key);
    }
    stored.config["rope_parameters"] =
        json!({"partial_rotary_factor": 0.5, "rope_theta": 500.0, "rope_type": "default"});
    let config = LanguageConfig::from_value(stored.config.clone(), "config.json").unwrap();
    let neox = config.gpt_neox().unwrap();
    assert_eq!((neox.rotary_pct, neox.rotary_emb_base), (0.5, 500.0));
    let saved = config.to_value();
    assert_eq!(saved["rope_parameters"], stored.config["rope_parameters"]);
    assert_eq!(
        (&saved["rotary_pct"], &saved["rotary_emb_base"]),
        (&json!(0.5), &json!(500))
    );
}

#[test]
fn tied_heads_and_attention_without_biases() {
    let mut stored = Checkpoint::read(&fixture("gpt-neox-tiny")).unwrap();
    stored.config["tie_word_embeddings"] = json!(true);
    stored.config["attention_bias"] = json!(false);
    stored.tensors.retain(|name, _| {
        name != "embed_out.weight" && !(name.contains("attention.") && name.ends_with("bias"))
    });
    let model = LanguageModel::from_checkpoint(&stored, &Device::flex()).unwrap();
    assert!(model.to_checkpoint().unwrap().tensors == stored.tensors);
    // The same as a head that holds the embeddings, and biases of 0.
    let mut untied = Checkpoint::read(&fixture("gpt-neox-tiny")).unwrap();
    let table = untied.tensors["gpt_neox.embed_in.weight"].clone();
    untied.tensors.insert("embed_out.weight".into(), table);
    for (name, tensor) in &mut untied.tensors {
        if name.contains("attention.") && name.ends_with("bias") {
            tensor.bytes.fill(0);
        }
    }
    let other = LanguageModel::from_checkpoint(&untied, &Device::flex()).unwrap();
    let rows = [sample(12, 1)];
    assert_close(logits(&model, &rows), logits(&other, &rows), 1e-6, "tied");
}

#[test]
fn unknown_keys_of_the_configuration_are_kept() {
    let mut stored = Checkpoint::read(&fixture("gpt-neox-tiny")).unwrap();
    stored.config["my_key"] = json!({"a": [1, 2]});
    stored.config["eos_token_id"] = json!([3, 5]);
    stored.config["caldera"] = json!({"mixer": "softmax", "run": {"seed": 3}});
    let model = LanguageModel::from_checkpoint(&stored, &Device::flex()).unwrap();
    assert_eq!(model.config.eos_token_ids, [3, 5]);
    let saved = model.config.to_value();
    assert_eq!(saved["my_key"], json!({"a": [1, 2]}));
    assert_eq!(saved["eos_token_id"], json!([3, 5]));
    assert_eq!(saved["caldera"]["run"]["seed"], 3);
    let again: LanguageConfig =
        serde_json::from_value(serde_json::to_value(&model.config).unwrap()).unwrap();
    assert_eq!(again, model.config);
}

#[test]
fn inputs_are_checked() {
    for model in kinds() {
        assert!(model.validate(&[vec![1, 2, 319]]).is_ok());
        let attends = model.config.mixer == LanguageMixer::Attention;
        assert_eq!(model.validate(&[vec![1; 97]]).is_err(), attends);
        assert!(model.validate(&[vec![1; 96]]).is_ok());
        for (ids, part) in [
            (vec![], "at least one token"),
            (vec![3, 320], "found 320 at position 1"),
        ] {
            let message = model.validate(&[vec![7], ids]).unwrap_err().to_string();
            assert!(
                message.starts_with("sample 1: ") && message.contains(part),
                "{message}"
            );
        }
    }
}
