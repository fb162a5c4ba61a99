//! Tiny models and data: a 3-layer encoder of width 32 and sentences whose label hangs on one word.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde_json::{Value, json};

use crate::program::{caldera, fixtures, text};

/// Files of a model folder.
pub const MODEL_FILES: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];

/// A bare encoder with a tokenizer; `finetune` gives it a head.
pub fn encoder() -> PathBuf {
    fixtures().join("models/bert-tiny-mean")
}

/// A classifier of sentence pairs with two labels.
pub fn classifier() -> PathBuf {
    fixtures().join("models/bert-tiny")
}

/// Copies the model's files, so that a test can break them.
pub fn copy_model(from: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to).unwrap();
    for file in MODEL_FILES {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    to.to_path_buf()
}

/// Texts of 3 to 24 words with a label: whether "bright" or "murky" is among them.
pub fn examples(count: usize, offset: usize) -> Vec<(String, usize)> {
    const WORDS: [&str; 8] = ["the", "lake", "was", "seen", "by", "two", "old", "friends"];
    (offset..offset + count)
        .map(|i| {
            let label = (i * 7 / 3) % 2;
            let length = 3 + (i * 11) % 22;
            let mut words: Vec<&str> = (0..length)
                .map(|j| WORDS[(i * 5 + j * 3) % WORDS.len()])
                .collect();
            words[(i * 13) % length] = ["murky", "bright"][label];
            (words.join(" "), label)
        })
        .collect()
}

/// Writes examples as JSON Lines, CSV or TSV, by the extension.
pub fn write_examples(path: &Path, examples: &[(String, usize)]) -> PathBuf {
    let mut out = String::new();
    match path.extension().and_then(|kind| kind.to_str()) {
        Some("jsonl") => {
            for (text, label) in examples {
                out += &format!("{}\n", json!({ "text": text, "label": label }));
            }
        }
        Some("csv") => {
            out += "label,text\n";
            for (text, label) in examples {
                out += &format!("{label},\"{text}\"\n");
            }
        }
        Some("tsv") => {
            out += "sentence\tlabel\n";
            for (text, label) in examples {
                out += &format!("{text}\t{label}\n");
            }
        }
        other => panic!("no test data of kind {other:?}"),
    }
    fs::write(path, out).unwrap();
    path.to_path_buf()
}

/// What several tests share: data, and a teacher with checkpoints of its training.
pub struct Shared {
    /// 96 labelled examples.
    pub train: PathBuf,
    /// 32 others.
    pub valid: PathBuf,
    /// Run folder of the teacher.
    pub teacher: PathBuf,
}

/// Made once a test process, in cargo's folder for that.
pub fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shared");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let train = write_examples(&folder.join("train.jsonl"), &examples(96, 0));
        let valid = write_examples(&folder.join("valid.csv"), &examples(32, 200));
        let teacher = folder.join("teacher");
        caldera([
            "finetune",
            "--model",
            text(&encoder()),
            "--train",
            text(&train),
            "--valid",
            text(&valid),
            "--out",
            text(&teacher),
            "--epochs",
            "10",
            "--batch-size",
            "16",
            "--lr",
            "2e-3",
            "--checkpoints",
            "3",
            "--seed",
            "5",
            "--device",
            "cpu",
        ])
        .succeeded();
        Shared {
            train,
            valid,
            teacher,
        }
    })
}

/// Parses what a command printed.
#[track_caller]
pub fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// Reads a JSON file.
#[track_caller]
pub fn read_json(path: &Path) -> Value {
    parse(&fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}
