//! Damaged model folders: every one is refused with a message that names the file and the tensor or key.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    program::{Finished, caldera, text},
    samples::{classifier, copy_model, read_json},
};

const TENSOR: &str = "bert.encoder.layer.1.attention.self.value.weight";

/// A copy of a good model, to be broken.
struct Broken {
    folder: TempDir,
    model: PathBuf,
}

impl Broken {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = copy_model(&classifier(), &folder.path().join("model"));
        Self { folder, model }
    }

    /// A copy whose weights file is rewritten from its header (JSON) and data.
    fn weights(change: impl FnOnce(&mut Value, &mut Vec<u8>)) -> Self {
        let broken = Self::new();
        let path = broken.model.join("model.safetensors");
        let bytes = fs::read(&path).unwrap();
        let size = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header: Value = serde_json::from_slice(&bytes[8..8 + size]).unwrap();
        let mut data = bytes[8 + size..].to_vec();
        change(&mut header, &mut data);
        let header = header.to_string().into_bytes();
        let file = [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat();
        fs::write(path, file).unwrap();
        broken
    }

    /// A copy with another config.json.
    fn config(change: impl FnOnce(&mut Value)) -> Self {
        let broken = Self::new();
        let path = broken.model.join("config.json");
        let mut config = read_json(&path);
        change(&mut config);
        fs::write(path, config.to_string()).unwrap();
        broken
    }

    /// A copy with other bytes in a file.
    fn bytes(file: &str, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let broken = Self::new();
        let path = broken.model.join(file);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(path, bytes).unwrap();
        broken
    }

    fn predict(&self) -> Finished {
        caldera([
            "predict",
            "--model",
            text(&self.model),
            "--device",
            "cpu",
            "a lake",
            "--pair",
            "a friend",
        ])
    }

    /// Refused wherever a model is read, and nothing is written.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        self.predict().refused(words);
        let run = self.folder.path().join("out.safetensors");
        let input = classifier().join("expected.safetensors");
        caldera([
            "forward",
            "--model",
            text(&self.model),
            "--input",
            text(&input),
            "--output",
            text(&run),
            "--device",
            "cpu",
        ])
        .refused(words);
        assert!(!run.exists(), "a refused command wrote {}", run.display());
    }
}

#[test]
fn the_unbroken_copy_is_taken() {
    Broken::new().predict().succeeded();
    Broken::weights(|_, _| {}).predict().succeeded();
}

#[test]
fn truncated_weights() {
    for keep in [0, 5, 8, 200] {
        Broken::bytes("model.safetensors", |bytes| bytes.truncate(keep))
            .refused(&["model.safetensors"]);
    }
    Broken::bytes("model.safetensors", |bytes| {
        bytes.truncate(bytes.len() - 100)
    })
    .refused(&["model.safetensors"]);
}

#[test]
fn a_header_that_lies_about_its_size() {
    for size in [u64::MAX, 1 << 40, 1 << 33, 0] {
        Broken::bytes("model.safetensors", |bytes| {
            bytes[..8].copy_from_slice(&size.to_le_bytes())
        })
        .refused(&["model.safetensors"]);
    }
}

#[test]
fn offsets_that_lie() {
    for offsets in [
        json!([0, 1u64 << 40]),
        json!([4096, 0]),
        json!([0, 4095]),
        json!([u64::MAX - 3, u64::MAX]),
    ] {
        Broken::weights(|header, _| header[TENSOR]["data_offsets"] = offsets)
            .refused(&["model.safetensors"]);
    }
    Broken::weights(|header, _| header[TENSOR]["shape"] = json!([1u64 << 40, 1u64 << 40]))
        .refused(&["model.safetensors"]);
    Broken::weights(|header, _| header[TENSOR]["dtype"] = json!("F99"))
        .refused(&["model.safetensors"]);
}

#[test]
fn a_missing_tensor() {
    // Its bytes stay behind as those of a tensor that nobody asks for.
    Broken::weights(|header, _| {
        let entry = header.as_object_mut().unwrap().remove(TENSOR).unwrap();
        header["unknown.weight"] = entry;
    })
    .refused(&["model.safetensors", TENSOR]);
}

#[test]
fn a_wrong_shape() {
    Broken::weights(|header, _| header[TENSOR]["shape"] = json!([16, 64])).refused(&[
        "model.safetensors",
        TENSOR,
        "[16, 64]",
        "[32, 32]",
    ]);
    Broken::config(|config| config["vocab_size"] = json!(201)).refused(&[
        "model.safetensors",
        "word_embeddings",
        "201",
    ]);
}

#[test]
fn a_config_that_cannot_be() {
    Broken::config(|config| config["num_attention_heads"] = json!(5))
        .refused(&["config.json", "num_attention_heads"]);
    Broken::config(|config| config["num_attention_heads"] = json!(0))
        .refused(&["config.json", "num_attention_heads"]);
    Broken::config(|config| config["hidden_size"] = json!("wide"))
        .refused(&["config.json", "hidden_size"]);
    // Left out, it is transformers' default.
    Broken::config(|config| drop(config.as_object_mut().unwrap().remove("hidden_size")))
        .refused(&["model.safetensors", "word_embeddings", "768"]);
    Broken::config(|config| config["model_type"] = json!("gpt2")).refused(&["config.json", "gpt2"]);
    Broken::config(|config| config["hidden_act"] = json!("relu6"))
        .refused(&["config.json", "hidden_act"]);
    Broken::config(|config| config["caldera"] = json!({ "mixer": "nobody" }))
        .refused(&["config.json", "nobody"]);
    Broken::bytes("config.json", |bytes| bytes.truncate(40)).refused(&["config.json"]);
}

#[test]
fn a_tokenizer_that_cannot_be() {
    Broken::bytes("tokenizer.json", |bytes| bytes.truncate(100))
        .predict()
        .refused(&["tokenizer.json"]);
    let broken = Broken::new();
    fs::remove_file(broken.model.join("tokenizer.json")).unwrap();
    broken.predict().refused(&["tokenizer.json"]);
}

#[test]
fn files_that_are_not_there() {
    for file in ["config.json", "model.safetensors"] {
        let broken = Broken::new();
        fs::remove_file(broken.model.join(file)).unwrap();
        broken.refused(&[file]);
    }
    caldera([
        "predict",
        "--model",
        "no-such-folder",
        "--device",
        "cpu",
        "a lake",
    ])
    .refused(&["no-such-folder"]);
}

#[test]
fn input_ids_that_the_model_cannot_take() {
    let broken = Broken::new();
    let input = broken.folder.path().join("in.safetensors");
    let output = broken.folder.path().join("out.safetensors");
    let forward = |ids: &[i64]| {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let view = safetensors::tensor::TensorView::new(
            safetensors::Dtype::I64,
            vec![1, ids.len()],
            &bytes,
        )
        .unwrap();
        fs::write(
            &input,
            safetensors::serialize([("input_ids", view)], None).unwrap(),
        )
        .unwrap();
        caldera([
            "forward",
            "--model",
            text(&broken.model),
            "--input",
            text(&input),
            "--output",
            text(&output),
            "--device",
            "cpu",
        ])
    };
    forward(&[2, 200, 3]).refused(&["in.safetensors", "200"]);
    forward(&[2, -1, 3]).refused(&["in.safetensors", "-1"]);
    forward(&[2; 65]).refused(&["in.safetensors", "64"]);
    assert!(!output.exists());
    forward(&[2, 9, 3]).succeeded();
    fs::write(&input, b"not safetensors").unwrap();
    caldera([
        "forward",
        "--model",
        text(&broken.model),
        "--input",
        text(&input),
        "--output",
        text(&output),
        "--device",
        "cpu",
    ])
    .refused(&["in.safetensors"]);
}
