//! Pairs out and in, and files that are missing or altered.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::*;
use crate::checkpoint::write_files;
use crate::{ConvertOptions, Sharing, TextModel, convert};

fn models() -> (Checkpoint, Checkpoint) {
    let dir = PathBuf::from(
        std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package lies"),
    )
    .join("../tests/fixtures/models/bert-tiny");
    let teacher = TextModel::load(&dir, &Device::flex()).unwrap();
    let student = convert(&teacher, &ConvertOptions::linformer(8, Sharing::Kv, 1)).unwrap();
    (
        teacher.to_checkpoint().unwrap(),
        student.to_checkpoint().unwrap(),
    )
}

fn pair() -> Pair {
    let mut scores = PairScores::default();
    scores.teacher.insert("accuracy".into(), 0.9);
    Pair {
        name: "tiny".into(),
        task: "text-classification".into(),
        description: String::new(),
        scores,
        data: PairData {
            name: "none".into(),
            ..PairData::default()
        },
        licence: "MIT".into(),
        labels: vec!["no".into(), "yes".into()],
        samples: vec![PairSample {
            text: "Tea?".into(),
            ..PairSample::default()
        }],
        files: Vec::new(),
    }
}

#[test]
fn a_pair_comes_back_as_it_was_written() {
    let (teacher, student) = models();
    let dir = tempfile::tempdir().unwrap();
    let mut written = pair();
    written
        .write(dir.path(), &teacher, &student, &[], WeightDtype::F32)
        .unwrap();
    assert_eq!(written.files.len(), 6);
    let (read, transformer, linear) = Pair::read(dir.path()).unwrap();
    assert_eq!(read, written);
    assert!(transformer.tensors == teacher.tensors && linear.tensors == student.tensors);
    assert_eq!(transformer.tokenizer, teacher.tokenizer);
    assert_eq!(linear.config["caldera"]["mixer"], "linformer");
}

#[test]
fn missing_and_altered_files_are_named() {
    let (teacher, student) = models();
    let mut pair = pair();
    let files = pair
        .to_files(&teacher, &student, &[], WeightDtype::F16)
        .unwrap();
    assert_eq!(files.last().unwrap().0, "pair.json");
    let files: BTreeMap<_, _> = files.into_iter().collect();
    let read = Pair::from_bytes(&files["pair.json"], "pairs/tiny").unwrap();
    assert!(
        read.checkpoint(PairSide::Linear, &files, "pairs/tiny")
            .is_ok()
    );

    const WEIGHTS: &str = "linear/model.safetensors";
    let refused = |files: &BTreeMap<String, Vec<u8>>| {
        read.checkpoint(PairSide::Linear, files, "pairs/tiny")
            .unwrap_err()
            .to_string()
    };
    let mut bad = files.clone();
    bad.get_mut(WEIGHTS).unwrap()[5000] ^= 1;
    let message = refused(&bad);
    assert!(
        message.contains("pairs/tiny/linear/model.safetensors") && message.contains("SHA-256"),
        "{message}"
    );
    bad.get_mut(WEIGHTS).unwrap().pop();
    assert!(refused(&bad).contains("bytes as pair.json says"));
    bad.remove(WEIGHTS);
    assert!(refused(&bad).contains("found none"));
}

#[test]
fn clips_and_side_files_come_along() {
    let (mut teacher, student) = models();
    let vocabulary = b"{\"<pad>\": 0}".to_vec();
    teacher.files.insert("vocab.json".into(), vocabulary);
    let clip = ("samples/seven.wav".to_string(), b"RIFF".to_vec());
    let dir = tempfile::tempdir().unwrap();
    let mut written = pair();
    written.samples = vec![PairSample {
        text: "seven".into(),
        audio: Some(clip.0.clone()),
        credit: Some("somebody, CC0".into()),
        ..PairSample::default()
    }];
    let mut lost = written.clone();
    written
        .write(dir.path(), &teacher, &student, &[clip], WeightDtype::F32)
        .unwrap();
    let (read, transformer, linear) = Pair::read(dir.path()).unwrap();
    assert_eq!(read, written);
    assert_eq!(transformer.files, teacher.files);
    assert!(linear.files.is_empty());
    let listed = read.listed("samples/seven.wav").unwrap();
    let refused = listed.verify(b"riff", "p").unwrap_err().to_string();
    assert!(refused.contains("SHA-256"), "{refused}");

    let files = lost.to_files(&teacher, &student, &[], WeightDtype::F32);
    let (_, json) = files.unwrap().pop().unwrap();
    let message = Pair::from_bytes(&json, "p").unwrap_err().to_string();
    assert!(
        message.contains("clip `samples/seven.wav` of a sample"),
        "{message}"
    );
}

/// What lies in a folder.
fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_pair_over_an_old_one_leaves_what_is_not_the_pairs() {
    let (teacher, student) = models();
    let dir = tempfile::tempdir().unwrap();
    let clip = |number: usize| (format!("samples/{number}.wav"), vec![number as u8; 9]);
    let write = |clips: &[(String, Vec<u8>)]| {
        let mut written = pair();
        written
            .write(dir.path(), &teacher, &student, clips, WeightDtype::F32)
            .unwrap();
        assert_eq!(Pair::read(dir.path()).unwrap().0, written);
    };
    write(&[clip(1), clip(2)]);
    for name in ["README.md", "architecture.json", "linear/notes.txt"] {
        std::fs::write(dir.path().join(name), "mine").unwrap();
    }
    write(&[clip(1)]);
    assert_eq!(entries(&dir.path().join("samples")), ["1.wav"]);
    // The last sample's folder goes with it, others stay with what they hold.
    write(&[]);
    let whole = [
        "README.md",
        "architecture.json",
        "linear",
        "pair.json",
        "transformer",
    ];
    assert_eq!(entries(dir.path()), whole);
    assert!(entries(&dir.path().join("linear")).contains(&"notes.txt".into()));
    // A pair.json of somebody else names nothing to remove.
    std::fs::write(dir.path().join("pair.json"), "{}").unwrap();
    write(&[]);
    assert_eq!(entries(dir.path()), whole);
}

#[test]
fn a_write_that_fails_leaves_the_old_pair() {
    let (teacher, student) = models();
    let dir = tempfile::tempdir().unwrap();
    let mut old = pair();
    old.write(dir.path(), &teacher, &student, &[], WeightDtype::F32)
        .unwrap();
    // Where the clip's folder should be lies a file: the clip comes first, the weights would have come after.
    std::fs::write(dir.path().join("samples"), "in the way").unwrap();
    let before = entries(&dir.path().join("linear"));
    let mut new = pair();
    let clip = ("samples/1.wav".to_string(), vec![1]);
    let error = new
        .write(dir.path(), &teacher, &student, &[clip], WeightDtype::F16)
        .unwrap_err();
    assert!(error.to_string().contains("samples"), "{error}");
    assert_eq!(Pair::read(dir.path()).unwrap().0, old);
    // The same where the weights were written already.
    let late = [
        ("linear/model.safetensors", &b"new"[..]),
        ("samples/1.wav", b"new"),
    ];
    assert!(write_files(dir.path(), &late).is_err());
    assert_eq!(Pair::read(dir.path()).unwrap().0, old);
    assert_eq!(entries(&dir.path().join("linear")), before);
}

#[test]
fn pair_json_is_checked() {
    let message = |json: &str| {
        Pair::from_bytes(json.as_bytes(), "p")
            .unwrap_err()
            .to_string()
    };
    assert!(message("{").contains("p/pair.json: not valid JSON"));
    assert!(message(r#"{"name": "a"}"#).contains("missing field"));
    for path in ["../secret", "/etc/passwd", "a//b", "c:/x", "a\\b"] {
        let mut outside = pair();
        outside.files = vec![PairFile::describe(path, b"")];
        let text = serde_json::to_string(&outside).unwrap();
        assert!(message(&text).contains("below the pair's folder"), "{path}");
    }
}
